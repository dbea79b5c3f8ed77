package witness

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/witness/auditlog"
	"github.com/ebbtide/ebbtide/e2e/witness/history"
	"github.com/ebbtide/ebbtide/e2e/witness/laws"
	"github.com/ebbtide/ebbtide/e2e/witness/match"
)

const broker = "system:serviceaccount:ebbtide-system:ebbtide-broker"

// stand is a witness whose events and requests are made by the test.
type stand struct {
	*Witness
	t        *testing.T
	ready    atomic.Bool
	revision uint64
}

func newStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{t: t}
	s.ready.Store(true)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !s.ready.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(web.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	path := filepath.Join(folder, "audit.log")
	tail, err := auditlog.Follow(path, true)
	if err != nil {
		t.Fatal(err)
	}
	s.Witness = &Witness{
		opts: Options{AuditLog: path, Actors: []string{broker}, Folder: folder}, client: client, watcher: &history.Watcher{}, tail: tail,
		world: laws.NewWorld(), seen: match.NewSeen(),
		patience: time.Minute, // a busy machine is not dead
	}
	t.Cleanup(func() { _ = tail.Close() })
	return s
}

func (s *stand) show(o any) {
	s.revision++
	now := time.Now()
	s.see(history.Event{Revision: s.revision, At: now, Since: now, Object: o})
}

// ask writes down that somebody asked for something, and that it was done.
func (s *stand) ask(user, verb, name, body string) {
	s.t.Helper()
	now := time.Now().UTC().Format(time.RFC3339Nano)
	f, err := os.OpenFile(s.opts.AuditLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if body == "" {
		body = "null"
	}
	fmt.Fprintf(f, `{"auditID":%q,"stage":"ResponseComplete","verb":%q,"user":{"username":%q},"objectRef":{"resource":"loans","namespace":"research","name":%q,"apiGroup":"ebbtide.dev"},"responseStatus":{"code":200},"requestObject":%s,"requestReceivedTimestamp":%q,"stageTimestamp":%q}`+"\n",
		fmt.Sprint(user, verb, name, now), verb, user, name, body, now, now)
}

const (
	within  = time.Second
	silence = 5 * time.Second // in which what happens often happens again, on a busy machine too
)

func TestSettle(t *testing.T) {
	tests := []struct {
		name, want string // empty: it settles
		play       func(s *stand)
	}{
		{"nothing moves", "", func(*stand) {}},
		{"others write", "", func(s *stand) { s.often(func() { s.ask("alice", "update", "x", "") }) }},
		{"a write before it is looked for", "", func(s *stand) { s.ask(broker, "update", "a-1", "") }},

		{"a queue has another order", "queue research/q has another status", func(s *stand) {
			position := int32(0)
			s.often(func() {
				position++
				s.show(&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "q"}, Status: v1alpha1.TrainingQueueStatus{Waiting: []v1alpha1.QueuedJob{{Name: "a", Position: position}}}})
			})
		}},
		{"the broker goes on writing", "ebbtide-broker update loans research/a-1: done (200)", func(s *stand) { s.often(func() { s.ask(broker, "update", "a-1", "") }) }},
		{"a job without a loan", "job research/a may run and has no loan", func(s *stand) {
			s.show(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "a", UID: "a", Labels: map[string]string{v1alpha1.LabelQueue: "q"}}})
		}},
		{"the API server is gone", "the API server is not ready", func(s *stand) { s.ready.Store(false) }},
		{"the broker is gone", "no broker", func(s *stand) { s.opts.Alive = func(context.Context) error { return errors.New("no broker") } }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			test.play(s)
			took, err := s.Settle(t.Context(), within, silence)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("after %s: %v", took, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || took <= within):
				t.Errorf("after %s: %v, want %q", took, err, test.want)
			}
		})
	}
}

// often does something until the test ends.
func (s *stand) often(do func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			do()
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	s.t.Cleanup(func() { cancel(); <-done })
}

// What each of the three sources finds is in the report, under its count.
func TestJudge(t *testing.T) {
	s := newStand(t)
	clean, err := s.Judge(t.Context())
	if err != nil || clean.Err() != nil {
		t.Fatalf("of nothing: %v, %v", clean.Err(), err)
	}
	s.opts.Books = func() []string { return []string{filepath.Join(s.opts.Folder, "gone.db")} }
	s.show(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: history.LedgerLease, Annotations: map[string]string{
		"ebbtide.dev/ledger-head": "7:" + strings.Repeat("ab", 32), "ebbtide.dev/ledger-id": "x", "ebbtide.dev/ledger-epoch": "2",
	}}})
	s.Show("x", 8, strings.Repeat("CD", 32), "the broker's API")
	s.show(&v1alpha1.LendingPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: "chat"}, Status: v1alpha1.LendingPolicyStatus{Epoch: 1}})
	body := `{"spec":{"job":{"uid":"j1"},"grants":[{"node":"n1","flavor":"h100","count":1}]}}`
	s.ask(broker, "create", "a-1", body)
	s.ask(broker, "create", "a-2", body)
	r, err := s.Judge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.AckedLost != 2 || r.SilentGaps != 1 || r.DoubleLent != 1 || r.Others["epochs"] != 1 || len(r.Findings) != 5 || len(r.Histories) != 1 || r.Err() == nil {
		t.Errorf("want two entries lost in a gap, an old epoch, and a job lent to twice, with a drawing: %+v", r)
	}
	if r.Events != 2 || r.Acked != 2 || r.Writes != 2 {
		t.Errorf("what was looked at: %+v", r)
	}
}

// Watches tell of changes when they come to it. What is judged is the order in which they were
// made, and not before what may excuse a change had its time to be told.
func TestJudgeLateEvents(t *testing.T) {
	gpus := corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: name, UID: types.UID(name)},
			Spec:       corev1.PodSpec{NodeName: "gpu-0", Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Limits: gpus}}}},
		}
	}
	for name, tc := range map[string]struct {
		gone  uint64        // when the first pod was
		ahead time.Duration // the second
		want  int
	}{
		"gone before":         {3, 0, 0},
		"gone after":          {5, 0, 1},
		"too soon to be told": {5, time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			now := time.Now()
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0"}, Status: corev1.NodeStatus{Capacity: gpus, Allocatable: gpus}}
			for _, e := range []history.Event{
				{Revision: 1, Object: node},
				{Revision: 2, Object: pod("one")},
				{Revision: 4, At: now.Add(tc.ahead), Object: pod("two")},
				{Revision: tc.gone, Object: pod("one"), Deleted: true},
			} {
				if e.At.IsZero() {
					e.At = now
				}
				s.see(e)
			}
			for range 2 {
				r, err := s.Judge(t.Context())
				if err != nil || r.DoubleLent != tc.want || len(r.Findings) != tc.want {
					t.Errorf("%v, %v, want %d findings", r.Findings, err, tc.want)
				}
				if late := tc.gone < 4; (r.Late > 0) != late {
					t.Errorf("%d were late: want some: %v", r.Late, late)
				}
			}
		})
	}
}

// A file is read while nobody writes to it.
func TestStill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "book")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("half")
	// It was written to just now, however late the rest comes.
	soon := time.Now().Add(time.Hour)
	if err := os.Chtimes(path, soon, soon); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(settledFile/2, func() { _ = os.WriteFile(path, []byte("whole"), 0o600) })
	data, err := still(path)
	if err != nil || string(data) != "whole" {
		t.Errorf("%q (%v), want what was written last", data, err)
	}
	if _, err := still(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
