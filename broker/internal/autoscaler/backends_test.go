package autoscaler

import (
	"testing"

	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/internal/signal/backlog"
)

func TestConfigured(t *testing.T) {
	c := Configured{
		{Name: "tasks", Kind: backlog.Redis, Addresses: []string{"redis:6379"}},
		{Name: "events", Kind: backlog.Kafka, Addresses: []string{"kafka-0:9092", "kafka-1:9092"}},
	}
	for _, test := range []struct {
		kind            signal.Kind
		addresses, want string
	}{
		{signal.KindRedis, "redis:6379", "tasks"},
		{signal.KindRedis, "redis:6380", ""},
		{signal.KindKafka, "redis:6379", ""},
		{signal.KindKafka, "kafka-9:9092, kafka-1:9092", "events"},
		{signal.KindRedis, "", ""},
	} {
		if got := c.Named(test.kind, test.addresses); got != test.want {
			t.Errorf("%s %q is %q, want %q", test.kind, test.addresses, got, test.want)
		}
	}
}
