package backlog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"k8s.io/klog/v2"
)

// poolSize bounds a backend's connections: a reading is one short question.
const poolSize = 4

type redisBackend struct {
	name   string
	client redis.UniversalClient
}

// quiet keeps the library from writing to stderr by itself, with addresses: what
// matters of it is in the errors.
var quiet = sync.OnceFunc(func() { redis.SetLogger(detail{}) })

type detail struct{}

func (detail) Printf(ctx context.Context, format string, v ...any) {
	klog.FromContext(ctx).V(4).Info("Redis client", "message", fmt.Sprintf(format, v...))
}

func newRedis(b *Backend, config *tls.Config, timeout time.Duration) *redisBackend {
	quiet()
	return &redisBackend{name: b.Name, client: redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: b.Addresses, DB: b.Database, TLSConfig: config, Protocol: 2,
		ClientName: "ebbtide-broker", DisableIdentity: true,
		PoolSize: poolSize, MaxActiveConns: poolSize, MaxRetries: -1, DialerRetries: 1,
		DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout, PoolTimeout: timeout, ContextTimeoutEnabled: true,
		CredentialsProviderContext: func(context.Context) (string, string, error) {
			password, err := b.password()
			if err != nil {
				return "", "", fmt.Errorf("%w: %w", errPassword, err)
			}
			return b.Username, password, nil
		},
	})}
}

func (b *redisBackend) close() { _ = b.client.Close() } // what is not closed now is on exit

// length of a list.
func (b *redisBackend) length(ctx context.Context, list string) (int64, error) {
	n, err := b.client.LLen(ctx, list).Result()
	if err == nil {
		return n, nil
	}
	var said redis.Error
	if !errors.As(err, &said) {
		if errors.Is(err, errPassword) {
			return 0, fmt.Errorf("Redis %s: %w", b.name, errPassword)
		}
		return 0, silent(Redis, b.name)
	}
	switch code, _, _ := strings.Cut(said.Error(), " "); code {
	case "WRONGTYPE":
		return 0, fmt.Errorf("Redis %s: %q is not a list", b.name, list)
	case "NOAUTH", "WRONGPASS", "NOPERM":
		return 0, refused(Redis, b.name)
	default:
		// The code says what is wrong, LOADING or CLUSTERDOWN; the text may name a server.
		return 0, fmt.Errorf("Redis %s answers %s", b.name, code)
	}
}
