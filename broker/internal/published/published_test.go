package published_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

// file is a ledger on disk.
type file struct {
	*ledger.Ledger
	t    *testing.T
	path string
}

func open(t *testing.T, path string) *file {
	t.Helper()
	book, err := ledger.Open(path, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	return &file{book, t, path}
}

// epoch begins one, which is an entry; refusals are others.
func (f *file) epoch(n int64) { f.append(ledger.Entry{Kind: ledger.EpochStart, Epoch: n}) }

func (f *file) refuse(n int) {
	for range n {
		f.append(ledger.Entry{Kind: ledger.Refused, Epoch: f.Epoch(), Job: "research/tune", Borrower: "research"})
	}
}

func (f *file) append(e ledger.Entry) {
	f.t.Helper()
	seq, _ := f.Head()
	if e.OpID == "" {
		e.OpID = fmt.Sprintf("%s-%d", filepath.Base(f.path), seq)
	}
	if _, err := f.Append(e); err != nil {
		f.t.Fatal(err)
	}
}

func (f *file) head() published.Head {
	f.t.Helper()
	h, err := published.HeadOf(f)
	if err != nil {
		f.t.Fatal(err)
	}
	return h
}

// copy is what a volume's snapshot would be.
func (f *file) copy() *file {
	f.t.Helper()
	to := filepath.Join(f.t.TempDir(), "copy.db")
	if _, err := f.Backup(to); err != nil {
		f.t.Fatal(err)
	}
	return open(f.t, to)
}

func compare(t *testing.T, f *file, before published.Head) *published.Missing {
	t.Helper()
	m, err := published.Compare(f, before)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestCompare: whatever is put in the place of a ledger whose head is known, what it misses
// is found; and nothing is found where nothing is missing.
func TestCompare(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	f.epoch(1)
	f.refuse(4)
	old := f.copy() // with 5 entries
	if m := compare(t, f, published.Head{}); m != nil {
		t.Errorf("nothing was published, and %+v is missing", m)
	}
	before := f.head()
	if m := compare(t, f, before); m != nil {
		t.Errorf("the file is as it was published, and %+v is missing", m)
	}
	f.refuse(3)
	if m := compare(t, f, before); m != nil {
		t.Errorf("the file went on, and %+v is missing", m)
	}
	before = f.head()
	m := compare(t, old, before)
	if m == nil || m.New || m.From != 6 || m.To != 8 || m.Head != before.Hash.String() {
		t.Errorf("of an old copy with 5 of 8 entries %+v is missing, want 6 to 8", m)
	}
	old.epoch(2)
	old.refuse(9)
	if m = compare(t, old, before); m == nil || m.New || m.From != 8 || m.To != 8 {
		t.Errorf("of an old copy that was written on %+v is missing, want 8", m)
	}
	lost := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	if m = compare(t, lost, before); m == nil || !m.New || m.From != 1 || m.To != 8 {
		t.Errorf("of a new file %+v is missing, want 1 to 8", m)
	}
	lost.epoch(2) // the leader died before it wrote what is missing
	if again := compare(t, lost, before); again == nil || !again.New || again.OpID() != m.OpID() {
		t.Errorf("of a new file that a leader began %+v is missing", again)
	}
	said := lost.copy()
	said.append(ledger.Entry{Kind: ledger.Gap, Epoch: 2, OpID: m.OpID(), Payload: json.RawMessage(`{"from":1,"to":8,"why":"lost"}`)})
	said.epoch(3) // the leader died before it published the new file
	if again := compare(t, said, before); again != nil {
		t.Errorf("of a new file that says what is missing %+v is missing", again)
	}
	lost.refuse(1)
	if m = compare(t, lost, before); m == nil || m.New {
		t.Errorf("of another ledger's file %+v is missing, want that it is not new", m)
	}
}

// TestEveryOldCopy: each state that the file ever had is found to be old, and only the
// newest is not.
func TestEveryOldCopy(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	f.epoch(1)
	var copies []string
	for range 20 {
		f.refuse(1)
		to := filepath.Join(t.TempDir(), "copy.db")
		if _, err := f.Backup(to); err != nil {
			t.Fatal(err)
		}
		copies = append(copies, to)
	}
	before := f.head()
	for i, path := range copies {
		have := uint64(i) + 2
		m := compare(t, open(t, path), before)
		if newest := have == before.Seq; newest != (m == nil) || m != nil && (m.From != have+1 || m.To != before.Seq) {
			t.Errorf("of a copy with %d of %d entries %+v is missing", have, before.Seq, m)
		}
	}
}

type api struct {
	client.WithWatch
	writes int
}

func newAPI() *api {
	a := &api{}
	a.WithWatch = fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			a.writes++
			return c.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			a.writes++
			return c.Update(ctx, o, opts...)
		},
	}).Build()
	return a
}

func (a *api) lease(clock *clocktesting.FakePassiveClock) *published.Lease {
	return &published.Lease{Client: a, Live: a, Namespace: "ebbtide-system", Clock: clock}
}

// TestPublish: what is published is read again by whoever leads next, at most one write a
// second, and none for what is known.
func TestPublish(t *testing.T) {
	a, clock := newAPI(), clocktesting.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	l := a.lease(clock)
	if h, err := l.Read(t.Context()); err != nil || h != (published.Head{}) {
		t.Fatalf("before anything was published: %+v, %v", h, err)
	}
	first := published.Head{ID: "a", Seq: 3, Hash: ledger.Hash{1}, Epoch: 2}
	second := published.Head{ID: "a", Seq: 4, Hash: ledger.Hash{2}, Epoch: 2}
	for _, h := range []published.Head{first, second} {
		if err := l.Publish(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	if h, err := a.lease(clock).Read(t.Context()); err != nil || h != first || a.writes != 1 {
		t.Errorf("within a second %+v, %v after %d writes; want the first", h, err, a.writes)
	}
	clock.SetTime(clock.Now().Add(time.Second))
	for range 3 {
		if err := l.Publish(t.Context(), second); err != nil {
			t.Fatal(err)
		}
		clock.SetTime(clock.Now().Add(time.Minute))
	}
	if h, err := a.lease(clock).Read(t.Context()); err != nil || h != second || a.writes != 2 {
		t.Errorf("after a second %+v, %v after %d writes; want the second", h, err, a.writes)
	}
	var lease coordinationv1.Lease
	if err := a.Get(t.Context(), types.NamespacedName{Namespace: "ebbtide-system", Name: "ebbtide-ledger"}, &lease); err != nil {
		t.Fatal(err)
	}
	if got := lease.Annotations[published.AnnotationHead]; got != "4:"+second.Hash.String() {
		t.Errorf("the annotation is %s", got)
	}
}

// TestOvertakenPublisher: an old leader does not overwrite what a new one published, whether
// it has read that or not, and no head falls back.
func TestOvertakenPublisher(t *testing.T) {
	a, clock := newAPI(), clocktesting.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	old, next := a.lease(clock), a.lease(clock)
	publish := func(l *published.Lease, h published.Head) error {
		clock.SetTime(clock.Now().Add(time.Minute))
		return l.Publish(t.Context(), h)
	}
	if err := publish(old, published.Head{ID: "a", Seq: 3, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	newer := published.Head{ID: "b", Seq: 1, Hash: ledger.Hash{9}, Epoch: 2}
	if err := publish(next, newer); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := publish(old, published.Head{ID: "a", Seq: 4, Epoch: 1}); !errors.Is(err, published.ErrOvertaken) {
			t.Errorf("the old leader's publishing ends with %v", err)
		}
	}
	if err := publish(next, published.Head{ID: "b", Seq: 0, Epoch: 2}); err == nil {
		t.Error("the head fell back")
	}
	if h, err := a.lease(clock).Read(t.Context()); err != nil || h != newer {
		t.Errorf("published is %+v, %v", h, err)
	}
	// Somebody wrote something else into the Lease: no reason to give up.
	var lease coordinationv1.Lease
	if err := a.Get(t.Context(), types.NamespacedName{Namespace: "ebbtide-system", Name: "ebbtide-ledger"}, &lease); err != nil {
		t.Fatal(err)
	}
	lease.Labels = map[string]string{"looked-at": "yes"}
	if err := a.Update(t.Context(), &lease); err != nil {
		t.Fatal(err)
	}
	if err := publish(next, published.Head{ID: "b", Seq: 2, Epoch: 2}); err != nil {
		t.Errorf("after a change by somebody else: %v", err)
	}
}

// TestUnreadable: an annotation that is not a head is not taken for none.
func TestUnreadable(t *testing.T) {
	good := map[string]string{
		published.AnnotationHead: "4:" + ledger.Hash{}.String(), published.AnnotationID: "a", published.AnnotationEpoch: "2",
	}
	for key, bad := range map[string]string{
		published.AnnotationHead: "4", published.AnnotationID: "", published.AnnotationEpoch: "two",
	} {
		a := newAPI()
		lease := &coordinationv1.Lease{}
		lease.Namespace, lease.Name, lease.Annotations = "ebbtide-system", published.LeaseName, map[string]string{key: bad}
		for k, v := range good {
			if k != key {
				lease.Annotations[k] = v
			}
		}
		if err := a.Create(t.Context(), lease); err != nil {
			t.Fatal(err)
		}
		if h, err := a.lease(clocktesting.NewFakePassiveClock(time.Now())).Read(t.Context()); !errors.Is(err, published.ErrUnreadable) {
			t.Errorf("%s of %q is read as %+v, %v", key, bad, h, err)
		}
	}
}

// TestCompareAfterACrash: a leader wrote what is missing, and whatever came after, and died
// before it published that. The next one finds nothing missing; without the entry it does,
// and so it does where the entry is about another gap.
func TestCompareAfterACrash(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	f.epoch(1)
	f.refuse(4)
	old := f.copy()
	f.refuse(3)
	before := f.head()
	for name, file := range map[string]*file{"begun anew": open(t, filepath.Join(t.TempDir(), "ledger.db")), "an old copy": old} {
		m := compare(t, file, before)
		if m == nil {
			t.Fatalf("%s: nothing is missing", name)
		}
		file.epoch(2)
		payload, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Append(ledger.Entry{Kind: ledger.Gap, Epoch: 2, OpID: "gap-another-3", Payload: payload}); err != nil {
			t.Fatal(err)
		}
		if compare(t, file, before) == nil {
			t.Errorf("%s: an entry about another gap is taken for this one's", name)
		}
		if _, err := file.Append(ledger.Entry{Kind: ledger.Gap, Epoch: 2, OpID: m.OpID(), Payload: payload}); err != nil {
			t.Fatal(err)
		}
		file.refuse(20) // such as RECOVERED
		if again := compare(t, file, before); again != nil {
			t.Errorf("%s: %+v is missing, although the ledger says so", name, again)
		}
	}
}
