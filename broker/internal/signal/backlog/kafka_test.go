package backlog

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
)

const (
	topic = "inference"
	group = "workers"
)

// cluster of one broker, with a topic of three partitions.
func cluster(t *testing.T, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append(options, kfake.NumBrokers(1), kfake.SeedTopics(3, topic))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// produce writes n records to each given partition.
func produce(t *testing.T, c *kfake.Cluster, n map[int32]int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for partition, count := range n {
		for range count {
			record := &kgo.Record{Topic: topic, Partition: partition, Value: []byte("task")}
			if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// commit sets how far the group has read.
func commit(t *testing.T, c *kfake.Cluster, at map[int32]int64) {
	t.Helper()
	admin := administer(t, c)
	var offsets kadm.Offsets
	for partition, offset := range at {
		offsets.Add(kadm.Offset{Topic: topic, Partition: partition, At: offset, LeaderEpoch: -1})
	}
	if err := admin.CommitAllOffsets(t.Context(), group, offsets); err != nil {
		t.Fatal(err)
	}
}

func administer(t *testing.T, c *kfake.Cluster) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

func lag(group, topic string) signal.Spec {
	return signal.Spec{Name: "spec.signals[0]", Kind: signal.KindKafka, Kafka: v1alpha1.KafkaLag{Backend: "events", ConsumerGroup: group, Topic: topic}}
}

func TestKafkaLag(t *testing.T) {
	c := cluster(t)
	produce(t, c, map[int32]int{0: 10, 1: 4, 2: 5})
	commit(t, c, map[int32]int64{0: 7})
	r := open(t, time.Minute, Backend{Name: "events", Kind: Kafka, Addresses: c.ListenAddrs()})
	read := func(s signal.Spec, want float64, wantErr string) {
		t.Helper()
		got, err := r.Read(t.Context(), "serving", s)
		check(t, got, err, want, wantErr)
	}
	// 3 of the committed partition, and all of those that were never committed.
	read(lag(group, topic), 3+4+5, "")

	// Of a partition without a commit, what was deleted is no work.
	admin := administer(t, c)
	var deleted kadm.Offsets
	deleted.Add(kadm.Offset{Topic: topic, Partition: 2, At: 3})
	if _, err := admin.DeleteRecords(t.Context(), deleted); err != nil {
		t.Fatal(err)
	}
	read(lag(group, topic), 3+4+2, "")

	// A commit before what was deleted counts from there, one beyond the end is none.
	commit(t, c, map[int32]int64{0: 10, 1: 99, 2: 1})
	read(lag(group, topic), 0+0+2, "")

	read(lag("strangers", topic), 0, `Kafka events: there is no consumer group "strangers"`)
	read(lag(group, "nothing"), 0, `Kafka events: there is no topic "nothing"`)
	elsewhere := lag(group, topic)
	elsewhere.Kafka.Backend = "10.0.0.1:9092"
	read(elsewhere, 0, `spec.signals[0].kafka.backend: the broker's configuration has no Kafka "10.0.0.1:9092"`)
	if topics, err := admin.ListTopics(t.Context()); err != nil || topics.Has("nothing") {
		t.Errorf("reading made a topic: %v, %v", topics.Names(), err)
	}
}

// TestKafkaDown: brokers that are gone are unknown and not without a backlog, within
// the timeout.
func TestKafkaDown(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, topic))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	produce(t, c, map[int32]int{0: 2})
	r, err := New(Backends{{Name: "events", Kind: Kafka, Addresses: c.ListenAddrs()}}, time.Second, clocktesting.NewFakePassiveClock(now))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got, err := r.Read(ctx, "serving", lag(group, topic))
	check(t, got, err, 0, "Kafka events does not answer")
	if ctx.Err() != nil {
		t.Error("the reader's own timeout did not end the question")
	}
}

// TestKafkaPassword: by SCRAM; a wrong password is refused, and the right one is read
// from the file when it is there.
func TestKafkaPassword(t *testing.T) {
	c := cluster(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "ebbtide", "secret"))
	for _, test := range []struct{ name, password, err string }{
		// The password is right: the group is looked for.
		{"right", "secret\n", `Kafka events: there is no consumer group "workers"`},
		{"wrong", "guess", "Kafka events refuses the broker's user or password, or does not let it ask"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.password == "guess" {
				refuse(c)
			}
			file := filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(file, []byte(test.password), 0o600); err != nil {
				t.Fatal(err)
			}
			r := open(t, time.Minute, Backend{Name: "events", Kind: Kafka, Addresses: c.ListenAddrs(), Username: "ebbtide", PasswordFile: file})
			got, err := r.Read(t.Context(), "serving", lag(group, topic))
			check(t, got, err, 0, test.err)
		})
	}
	c = cluster(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "ebbtide", "secret"))
	r := open(t, time.Minute, Backend{Name: "events", Kind: Kafka, Addresses: c.ListenAddrs(), Username: "ebbtide", PasswordFile: "/does/not/exist"})
	got, err := r.Read(t.Context(), "serving", lag(group, topic))
	check(t, got, err, 0, "Kafka events: the broker cannot read its password")
}

// refuse makes the cluster answer passwords as a broker that knows better does; kfake
// itself hangs up.
func refuse(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		answer := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		answer.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return answer, nil, true
	})
}
