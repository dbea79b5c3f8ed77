package backlog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/internal/signal"
)

func TestValidate(t *testing.T) {
	redis := Backend{Name: "tasks", Kind: Redis, Addresses: []string{"redis.queues.svc:6379"}}
	kafka := Backend{Name: "events", Kind: Kafka, Addresses: []string{"kafka-0:9092", "kafka-1:9092"}}
	with := func(b Backend, change func(*Backend)) Backends {
		b.Addresses = append([]string(nil), b.Addresses...)
		change(&b)
		return Backends{b}
	}
	for name, test := range map[string]struct {
		backends Backends
		want     []string
	}{
		"none":         {},
		"both kinds":   {backends: Backends{redis, kafka}},
		"all of Redis": {backends: with(redis, func(b *Backend) { b.Username, b.PasswordFile, b.Database, b.TLS = "u", "/p", 3, &TLS{} })},
		"all of Kafka": {backends: with(kafka, func(b *Backend) {
			b.Username, b.PasswordFile, b.Mechanism, b.TLS = "u", "/p", Plain, &TLS{CAFile: "/ca", CertFile: "/c", KeyFile: "/k"}
		})},
		"a password alone is Redis' default user": {backends: with(redis, func(b *Backend) { b.PasswordFile = "/p" })},

		"twice":      {Backends{redis, redis}, []string{`backends[1].name: Duplicate value: "tasks"`}},
		"no name":    {with(redis, func(b *Backend) { b.Name = "" }), []string{`backends[0].name: Invalid value: "": must be 1 to 63 lower-case letters, digits and dashes, with no dash at its ends`}},
		"kind":       {with(redis, func(b *Backend) { b.Kind = "NATS" }), []string{`backends[0].kind: Invalid value: "NATS": must be Redis or Kafka`}},
		"no address": {with(redis, func(b *Backend) { b.Addresses = nil }), []string{`backends[0].addresses: Invalid value: null: must have at least one host:port`}},
		"no port":    {with(kafka, func(b *Backend) { b.Addresses[1] = "kafka-1" }), []string{`backends[0].addresses[1]: Invalid value: "kafka-1": must be host:port`}},
		"no password": {
			with(kafka, func(b *Backend) { b.Username = "u" }),
			[]string{`backends[0].passwordFile: Invalid value: "": must be set where username is`},
		},
		"no user": {
			with(kafka, func(b *Backend) { b.PasswordFile = "/p" }),
			[]string{`backends[0].username: Invalid value: "": must be set where passwordFile is`},
		},
		"mechanism": {
			with(kafka, func(b *Backend) { b.Mechanism = "GSSAPI" }),
			[]string{`backends[0].mechanism: Unsupported value: "GSSAPI": supported values: "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"`},
		},
		"plain without TLS": {
			with(kafka, func(b *Backend) { b.Mechanism = Plain }),
			[]string{`backends[0].mechanism: Invalid value: "PLAIN": needs tls: it sends the password as it is`},
		},
		"mechanism of a Redis": {
			with(redis, func(b *Backend) { b.Mechanism = ScramSHA256 }),
			[]string{`backends[0].mechanism: Invalid value: "SCRAM-SHA-256": belongs to a Kafka`},
		},
		"database of a Kafka": {
			with(kafka, func(b *Backend) { b.Database = 1 }),
			[]string{`backends[0].database: Invalid value: 1: belongs to a Redis`},
		},
		"database of a cluster": {
			with(redis, func(b *Backend) { b.Addresses = []string{"a:1", "b:1"}; b.Database = 1 }),
			[]string{`backends[0].database: Invalid value: 1: must be 0 in a Redis Cluster, which several addresses are`},
		},
		"half a certificate": {
			with(redis, func(b *Backend) { b.TLS = &TLS{CertFile: "/c"} }),
			[]string{`backends[0].tls: Invalid value: {"certFile":"/c"}: certFile and keyFile must be set together`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, err := range test.backends.Validate(field.NewPath("backends")) {
				got = append(got, err.Error())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(noPEM, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	redis := Backend{Name: "tasks", Kind: Redis, Addresses: []string{"127.0.0.1:1"}}
	with := func(tls TLS) Backends {
		b := redis
		b.TLS = &tls
		return Backends{b}
	}
	for name, test := range map[string]struct {
		backends Backends
		timeout  time.Duration
		want     string
	}{
		"no timeout":     {nil, 0, "the timeout must be above 0s"},
		"invalid":        {Backends{{}}, time.Second, "backends[0].kind: Invalid value"},
		"no CA file":     {with(TLS{CAFile: "/does/not/exist"}), time.Second, "backend tasks: read tls.caFile"},
		"no certificate": {with(TLS{CAFile: noPEM}), time.Second, "has no certificate in it"},
		"no key":         {with(TLS{CertFile: noPEM, KeyFile: noPEM}), time.Second, "backend tasks: read tls.certFile and tls.keyFile"},
	} {
		if _, err := New(test.backends, test.timeout, clocktesting.NewFakePassiveClock(now)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

// TestNamed: two databases of one Redis are two backends, in whatever order.
func TestNamed(t *testing.T) {
	address := []string{"redis:6379"}
	b := Backends{
		{Name: "other", Kind: Redis, Addresses: address, Database: 3}, {Name: "tasks", Kind: Redis, Addresses: address},
		{Name: "events", Kind: Kafka, Addresses: []string{"kafka-0:9092", "kafka-1:9092"}},
	}
	for _, test := range []struct {
		kind      signal.Kind
		addresses string
		database  int
		want      string
	}{
		{signal.KindRedis, "redis:6379", 0, "tasks"},
		{signal.KindRedis, "redis:6379", 3, "other"},
		{signal.KindRedis, "redis:6379", 1, ""},
		{signal.KindRedis, "redis-1:6379", 0, ""},
		{signal.KindKafka, "kafka-9:9092, kafka-1:9092", 0, "events"},
		{signal.KindKafka, "redis:6379", 0, ""},
	} {
		if got := b.Named(test.kind, test.addresses, test.database); got != test.want {
			t.Errorf("%s at %s, database %d: got %q, want %q", test.kind, test.addresses, test.database, got, test.want)
		}
	}
}
