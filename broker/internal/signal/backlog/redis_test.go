package backlog

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"go.uber.org/goleak"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
)

var _ signal.ValueReader = (*Reader)(nil)

var now = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

func open(t *testing.T, timeout time.Duration, backends ...Backend) *Reader {
	t.Helper()
	r, err := New(backends, timeout, clocktesting.NewFakePassiveClock(now))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func list(name string) signal.Spec {
	return signal.Spec{Name: "spec.signals[0]", Kind: signal.KindRedis, Redis: v1alpha1.RedisList{Backend: "tasks", List: name}}
}

func push(t *testing.T, server *miniredis.Miniredis, db int, list string, n int) {
	t.Helper()
	for range n {
		if _, err := server.DB(db).Push(list, "task"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRedisLength(t *testing.T) {
	server := miniredis.RunT(t)
	push(t, server, 0, "inference_tasks", 7)
	push(t, server, 3, "inference_tasks", 2)
	if err := server.Set("word", "x"); err != nil {
		t.Fatal(err)
	}
	r := open(t, time.Minute,
		Backend{Name: "tasks", Kind: Redis, Addresses: []string{server.Addr()}},
		Backend{Name: "third", Kind: Redis, Addresses: []string{server.Addr()}, Database: 3})
	third := list("inference_tasks")
	third.Redis.Backend = "third"
	elsewhere, otherKind := list("inference_tasks"), list("")
	elsewhere.Redis.Backend, otherKind.Kind = "10.0.0.1:6379", signal.KindPods
	for name, test := range map[string]struct {
		spec signal.Spec
		want float64
		err  string
	}{
		"a list":                          {spec: list("inference_tasks"), want: 7},
		"an empty list, as Redis has it":  {spec: list("empty"), want: 0},
		"of another database":             {spec: third, want: 2},
		"a key of another type":           {spec: list("word"), err: `Redis tasks: "word" is not a list`},
		"an address is no backend's name": {spec: elsewhere, err: `spec.signals[0].redis.backend: the broker's configuration has no Redis "10.0.0.1:6379"`},
		"another kind of signal":          {spec: otherKind, err: "a signal of kind Pods is no backlog"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := r.Read(t.Context(), "serving", test.spec)
			check(t, got, err, test.want, test.err)
		})
	}
}

func check(t *testing.T, got signal.Reading, err error, want float64, wantErr string) {
	t.Helper()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != wantErr {
		t.Errorf("got error %q, want %q", text, wantErr)
	}
	if err == nil && (got.Value != want || !got.At.Equal(now)) {
		t.Errorf("got %v, want %g at %s", got, want, now)
	}
}

// TestRedisPassword: a wrong password is refused, and a right one that is written to
// the file later is used without a restart.
func TestRedisPassword(t *testing.T) {
	server := miniredis.RunT(t)
	push(t, server, 0, "inference_tasks", 7)
	server.RequireUserAuth("ebbtide", "secret")
	file := filepath.Join(t.TempDir(), "password")
	r := open(t, time.Minute, Backend{Name: "tasks", Kind: Redis, Addresses: []string{server.Addr()}, Username: "ebbtide", PasswordFile: file})
	read := func() (signal.Reading, error) { return r.Read(t.Context(), "serving", list("inference_tasks")) }

	_, err := read()
	check(t, signal.Reading{}, err, 0, "Redis tasks: the broker cannot read its password")
	for _, test := range []struct{ password, err string }{
		{"guess", "Redis tasks refuses the broker's user or password, or does not let it ask"},
		{"secret\n", ""},
	} {
		if err := os.WriteFile(file, []byte(test.password), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := read()
		check(t, got, err, 7, test.err)
	}
	without := open(t, time.Minute, Backend{Name: "tasks", Kind: Redis, Addresses: []string{server.Addr()}})
	got, err := without.Read(t.Context(), "serving", list("inference_tasks"))
	check(t, got, err, 0, "Redis tasks refuses the broker's user or password, or does not let it ask")
}

// TestRedisDown: a server that is gone, or does not answer in time, is unknown and not
// empty, and is asked again when it is back.
func TestRedisDown(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	// Where it listens its port stays free while it is gone: connections of other programs to this
	// machine come from 127.0.0.1.
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr("127.0.2.1:0"); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	address := server.Addr()
	push(t, server, 0, "inference_tasks", 7)
	r, err := New(Backends{{Name: "tasks", Kind: Redis, Addresses: []string{address}}}, time.Minute, clocktesting.NewFakePassiveClock(now))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := r.Read(t.Context(), "serving", list("inference_tasks"))
	check(t, got, err, 7, "")

	server.SetError("LOADING Redis at 10.0.0.7 is loading the dataset in memory")
	got, err = r.Read(t.Context(), "serving", list("inference_tasks"))
	check(t, got, err, 0, "Redis tasks answers LOADING")
	server.SetError("")

	server.Close()
	got, err = r.Read(t.Context(), "serving", list("inference_tasks"))
	check(t, got, err, 0, "Redis tasks does not answer")

	if err := server.StartAddr(address); err != nil {
		t.Fatal(err)
	}
	got, err = r.Read(t.Context(), "serving", list("inference_tasks"))
	check(t, got, err, 7, "")

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	got, err = r.Read(ended, "serving", list("inference_tasks"))
	check(t, got, err, 0, "Redis tasks does not answer")
}
