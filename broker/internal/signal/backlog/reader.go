package backlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/broker/internal/signal"
)

// Reader reads signals of KindRedis and KindKafka. It is a signal.ValueReader and may
// be used concurrently.
type Reader struct {
	redis   map[string]*redisBackend
	kafka   map[string]*kafkaBackend
	timeout time.Duration
	clock   clock.PassiveClock
}

// New returns a reader of the given backends, which must be valid. It reads their
// certificates and connects to none: that is done when one is first asked. Each
// question takes no longer than timeout. Close must be called in the end.
func New(backends Backends, timeout time.Duration, clk clock.PassiveClock) (*Reader, error) {
	if timeout <= 0 {
		return nil, fmt.Errorf("read backlogs: the timeout must be above 0s, not %s", timeout)
	}
	if err := backends.Validate(field.NewPath("backends")).ToAggregate(); err != nil {
		return nil, err
	}
	r := &Reader{redis: map[string]*redisBackend{}, kafka: map[string]*kafkaBackend{}, timeout: timeout, clock: clk}
	for i := range backends {
		if err := r.add(&backends[i]); err != nil {
			r.Close()
			return nil, fmt.Errorf("backend %s: %w", backends[i].Name, err)
		}
	}
	return r, nil
}

func (r *Reader) add(b *Backend) error {
	config, err := b.TLS.config()
	if err != nil {
		return err
	}
	if b.Kind == Redis {
		r.redis[b.Name] = newRedis(b, config, r.timeout)
		return nil
	}
	client, err := newKafka(b, config, r.timeout)
	if err != nil {
		return err
	}
	r.kafka[b.Name] = client
	return nil
}

// Close ends all connections. Nothing may be read afterwards.
func (r *Reader) Close() {
	for _, b := range r.redis {
		b.close()
	}
	for _, b := range r.kafka {
		b.close()
	}
}

// Read reads one signal. The namespace does not matter: which lists and groups are
// whose, these servers do not know. Its errors are for the policy's owner.
func (r *Reader) Read(ctx context.Context, _ string, s signal.Spec) (signal.Reading, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	// Work that comes while the question is on its way may be missing in the answer.
	at := r.clock.Now()
	n, err := r.ask(ctx, s)
	if err != nil {
		return signal.Reading{}, err
	}
	return signal.Reading{Value: float64(n), At: at}, nil
}

func (r *Reader) ask(ctx context.Context, s signal.Spec) (int64, error) {
	switch s.Kind {
	case signal.KindRedis:
		b, ok := r.redis[s.Redis.Backend]
		if !ok {
			return 0, fmt.Errorf("%s.redis.backend: the broker's configuration has no Redis %q", s.Name, s.Redis.Backend)
		}
		return b.length(ctx, s.Redis.List)
	case signal.KindKafka:
		b, ok := r.kafka[s.Kafka.Backend]
		if !ok {
			return 0, fmt.Errorf("%s.kafka.backend: the broker's configuration has no Kafka %q", s.Name, s.Kafka.Backend)
		}
		return b.lag(ctx, s.Kafka.ConsumerGroup, s.Kafka.Topic)
	}
	return 0, fmt.Errorf("a signal of kind %s is no backlog", s.Kind)
}

// errPassword: the password's file cannot be read. Its path is the administrator's
// business, so it does not reach a policy.
var errPassword = errors.New("the broker cannot read its password")

func silent(kind Kind, name string) error {
	return fmt.Errorf("%s %s does not answer", kind, name)
}

func refused(kind Kind, name string) error {
	return fmt.Errorf("%s %s refuses the broker's user or password, or does not let it ask", kind, name)
}
