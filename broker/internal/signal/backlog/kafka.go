package backlog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

type kafkaBackend struct {
	name   string
	client *kadm.Client
}

func newKafka(b *Backend, config *tls.Config, timeout time.Duration) (*kafkaBackend, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(b.Addresses...), kgo.ClientID("ebbtide-broker"),
		kgo.DialTimeout(timeout), kgo.RetryTimeout(timeout), kgo.RequestTimeoutOverhead(timeout),
		// A topic that does not exist must stay so, and a new one be seen soon.
		kgo.MetadataMinAge(time.Second), kgo.DisableClientMetrics(),
	}
	if config != nil {
		options = append(options, kgo.DialTLSConfig(config))
	}
	if b.Username != "" {
		options = append(options, kgo.SASL(b.mechanism()))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("make a client of Kafka: %w", err)
	}
	return &kafkaBackend{name: b.Name, client: kadm.NewClient(client)}, nil
}

// mechanism reads the password for each connection.
func (b *Backend) mechanism() sasl.Mechanism {
	if b.Mechanism == Plain {
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			password, err := b.password()
			return plain.Auth{User: b.Username, Pass: password}, hide(err)
		})
	}
	auth := func(context.Context) (scram.Auth, error) {
		password, err := b.password()
		return scram.Auth{User: b.Username, Pass: password}, hide(err)
	}
	if b.Mechanism == ScramSHA256 {
		return scram.Sha256(auth)
	}
	return scram.Sha512(auth)
}

func hide(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errPassword, err)
}

func (b *kafkaBackend) close() { b.client.Close() }

// lag is how many records of all partitions of a topic the group has still to read.
// kadm.Client.Lag leaves out the partitions that no member has and that were never
// committed, which is all of a group's backlog before its first consumer.
func (b *kafkaBackend) lag(ctx context.Context, group, topic string) (int64, error) {
	if err := b.knows(ctx, group); err != nil {
		return 0, err
	}
	// Commits first: what is consumed meanwhile must not make the lag too small.
	commits, err := b.client.FetchOffsets(ctx, group)
	if err != nil {
		return 0, b.explain(err)
	}
	starts, err := b.offsets(ctx, topic, b.client.ListStartOffsets)
	if err != nil {
		return 0, err
	}
	ends, err := b.offsets(ctx, topic, b.client.ListEndOffsets)
	if err != nil {
		return 0, err
	}
	var lag int64
	for partition, end := range ends {
		start, ok := starts[partition]
		if !ok {
			return 0, fmt.Errorf("Kafka %s: partition %d of topic %q has no start offset", b.name, partition, topic)
		}
		from := start.Offset
		if commit, ok := commits.Lookup(topic, partition); ok {
			if commit.Err != nil {
				return 0, b.explain(commit.Err)
			}
			from = max(from, commit.At) // -1 if nothing was committed
		}
		lag += max(end.Offset-from, 0)
	}
	return lag, nil
}

// knows fails if the group does not exist. Kafka describes one that it has never heard
// of as dead, or, since version 4, as not found.
func (b *kafkaBackend) knows(ctx context.Context, group string) error {
	groups, err := b.client.DescribeGroups(ctx, group)
	if err != nil {
		return b.explain(err)
	}
	described := groups[group]
	if errors.Is(described.Err, kerr.GroupIDNotFound) || described.Err == nil && described.State == "Dead" {
		return fmt.Errorf("Kafka %s: there is no consumer group %q", b.name, group)
	}
	if described.Err != nil {
		return b.explain(described.Err)
	}
	return nil
}

// offsets of all partitions of a topic: each must be known.
func (b *kafkaBackend) offsets(ctx context.Context, topic string, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (map[int32]kadm.ListedOffset, error) {
	listed, err := list(ctx, topic)
	if err != nil {
		return nil, b.explain(err)
	}
	partitions := listed[topic]
	for _, p := range partitions {
		if errors.Is(p.Err, kerr.UnknownTopicOrPartition) {
			return nil, fmt.Errorf("Kafka %s: there is no topic %q", b.name, topic)
		}
		if p.Err != nil {
			return nil, b.explain(p.Err)
		}
	}
	if len(partitions) == 0 {
		return nil, fmt.Errorf("Kafka %s: there is no topic %q", b.name, topic)
	}
	return partitions, nil
}

// explain says what is wrong without an address.
func (b *kafkaBackend) explain(err error) error {
	var said *kerr.Error
	var denied *kadm.AuthError
	switch {
	case errors.Is(err, errPassword):
		return fmt.Errorf("Kafka %s: %w", b.name, errPassword)
	case errors.As(err, &denied), errors.Is(err, kerr.SaslAuthenticationFailed):
		return refused(Kafka, b.name)
	case errors.As(err, &said):
		return fmt.Errorf("Kafka %s answers %s", b.name, said.Message)
	}
	return silent(Kafka, b.name)
}
