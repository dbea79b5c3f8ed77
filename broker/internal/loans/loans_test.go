package loans

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// lagging is a cache that shows what the API server had when it looked last.
type lagging struct {
	client.Reader
	state
}

func (c *lagging) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	into.(*v1alpha1.LoanList).Items = slices.Clone(c.items)
	return nil
}

// counting counts how often the API server was asked.
type counting struct {
	client.Reader
	lists int
}

func (c *counting) List(ctx context.Context, into client.ObjectList, options ...client.ListOption) error {
	c.lists++
	return c.Reader.List(ctx, into, options...)
}

// state is what there was after a write.
type state struct {
	version int
	items   []v1alpha1.Loan
}

// server has Loans as an API server does: each write has a resourceVersion of its own.
type server struct {
	client.Client
	state
	// past is what caches may see, one after the other.
	past []state
	// fails, if set, is what writes answer; did tells whether they are done.
	fails error
	did   bool
}

func (s *server) at(o client.Object) int {
	return slices.IndexFunc(s.items, func(l v1alpha1.Loan) bool { return l.Name == o.GetName() })
}

func (s *server) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	list := into.(*v1alpha1.LoanList)
	list.ResourceVersion, list.Items = strconv.Itoa(s.version), slices.Clone(s.items)
	return nil
}

func (s *server) next(o client.Object) {
	s.version++
	o.SetResourceVersion(strconv.Itoa(s.version))
}

func (s *server) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	s.next(o)
	s.items = append(slices.Clone(s.items), *o.(*v1alpha1.Loan))
	s.past = append(s.past, s.state)
	return nil
}

func (s *server) Delete(_ context.Context, o client.Object, _ ...client.DeleteOption) error {
	s.version++
	s.items = slices.Delete(slices.Clone(s.items), s.at(o), s.at(o)+1)
	s.past = append(s.past, s.state)
	return nil
}

func (s *server) Status() client.SubResourceWriter { return &statuses{server: s} }

type statuses struct {
	client.SubResourceWriter
	server *server
}

func (s *statuses) Update(_ context.Context, o client.Object, _ ...client.SubResourceUpdateOption) error {
	if s.server.fails != nil && !s.server.did {
		return s.server.fails
	}
	written := o.DeepCopyObject().(*v1alpha1.Loan)
	s.server.next(written)
	s.server.items = slices.Clone(s.server.items)
	s.server.items[s.server.at(o)] = *written
	s.server.past = append(s.server.past, s.server.state)
	if s.server.fails != nil {
		return s.server.fails
	}
	o.SetResourceVersion(written.ResourceVersion)
	return nil
}

// world is an API server, a cache that lags behind it, and a reader of both.
type world struct {
	*server
	cache  *lagging
	live   *counting
	loans  *Loans
	client client.Client
}

func newWorld() *world {
	w := &world{server: &server{}, cache: &lagging{}}
	w.live = &counting{Reader: w.server}
	w.loans = &Loans{Cache: w.cache, Live: w.live, Shown: func() string { return strconv.Itoa(w.cache.version) }}
	w.client = w.loans.Writer(w.server)
	return w
}

type fataler interface {
	Fatalf(format string, args ...any)
}

// catchUp lets the cache look.
func (w *world) catchUp() { w.see(len(w.past)) }

// see lets it see so many of the writes that it has not seen.
func (w *world) see(writes int) {
	writes = min(writes, len(w.past))
	if writes > 0 {
		w.cache.state = w.past[writes-1]
	}
	w.past = w.past[writes:]
}

func (w *world) read(t fataler) []v1alpha1.Loan {
	var list v1alpha1.LoanList
	if err := w.loans.List(context.Background(), &list); err != nil {
		t.Fatalf("%v", err)
	}
	return list.Items
}

func loan(name string, uid int) *v1alpha1.Loan {
	return &v1alpha1.Loan{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: name, UID: types.UID(strconv.Itoa(uid))}}
}

// same tells whether two lists are of the same Loans in the same versions.
func same(a, b []v1alpha1.Loan) bool {
	return slices.EqualFunc(a, b, func(x, y v1alpha1.Loan) bool {
		return x.Name == y.Name && x.UID == y.UID && x.ResourceVersion == y.ResourceVersion
	})
}

// TestNeverOlderThanWritten: whatever is written, and however late the cache, what is
// read is what the API server has, because nobody else writes.
func TestNeverOlderThanWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, uid := newWorld(), 0
		ctx := context.Background()
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name")
			var now v1alpha1.Loan
			at := w.at(loan(name, 0))
			exists := at >= 0
			if exists {
				now = *w.items[at].DeepCopy()
			}
			var err error
			switch what := rapid.SampledFrom([]string{"write", "write", "delete", "lost", "refused", "look", "read"}).Draw(t, "what"); {
			case what == "look":
				w.see(rapid.IntRange(1, 4).Draw(t, "writes"))
			case what == "read":
				if got, want := w.read(t), w.items; !same(got, want) {
					t.Fatalf("read %v, there is %v", got, want)
				}
			case what == "write" && !exists:
				uid++
				err = w.client.Create(ctx, loan(name, uid))
			case what == "write":
				now.Status.LedgerSeq++
				err = w.client.Status().Update(ctx, &now)
			case what == "delete" && exists:
				err = w.client.Delete(ctx, &now)
			case exists: // a write that fails, done or not
				w.did, w.fails = what == "lost", errors.New("the answer was lost")
				if what == "refused" {
					w.fails = apierrors.NewConflict(schema.GroupResource{Resource: "loans"}, name, errors.New("somebody was faster"))
				}
				now.Status.LedgerSeq++
				if got := w.client.Status().Update(ctx, &now); !errors.Is(got, w.fails) {
					t.Fatalf("%v", got)
				}
				w.fails = nil
			}
			if err != nil {
				t.Fatalf("%v", err)
			}
		}
		if got, want := w.read(t), w.items; !same(got, want) {
			t.Fatalf("read %v, there is %v", got, want)
		}
	})
}

// TestAnotherOfThatNameBefore: a cache that still shows the Loan before the one that was
// deleted has not seen that one's end.
func TestAnotherOfThatNameBefore(t *testing.T) {
	w, ctx := newWorld(), t.Context()
	for uid := 1; uid <= 2; uid++ {
		of := loan("a", uid)
		if err := w.client.Create(ctx, of); err != nil {
			t.Fatal(err)
		}
		if uid == 1 {
			w.catchUp()
		}
		w.read(t)
		if err := w.client.Delete(ctx, of); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.read(t); len(got) > 0 {
		t.Errorf("read %v, there is none", got)
	}
	w.catchUp()
	lists := w.live.lists
	if w.read(t); w.live.lists != lists {
		t.Error("the API server was asked though the cache has caught up")
	}
}

// TestTheCacheIsEnough: once it has caught up the API server is left alone.
func TestTheCacheIsEnough(t *testing.T) {
	w, ctx := newWorld(), t.Context()
	for i := range 5 {
		if err := w.client.Create(ctx, loan(fmt.Sprintf("a-%d", i), i+1)); err != nil {
			t.Fatal(err)
		}
	}
	step := func(what string, lists int) {
		t.Helper()
		w.read(t)
		if w.live.lists != lists {
			t.Fatalf("%s: the API server was asked %d times, want %d", what, w.live.lists, lists)
		}
	}
	w.catchUp()
	step("the first time others may have written", 1)
	step("the cache shows what was read", 1)
	changed := w.items[0].DeepCopy()
	changed.Status.LedgerSeq = 7
	if err := w.client.Status().Update(ctx, changed); err != nil {
		t.Fatal(err)
	}
	step("the cache does not show the change", 2)
	w.catchUp()
	step("now it does", 2)
	if err := w.client.Delete(ctx, changed); err != nil {
		t.Fatal(err)
	}
	step("the cache still has what is gone", 3)
	w.catchUp()
	step("it has not", 3)
	changed = w.items[0].DeepCopy()
	w.fails, w.did = errors.New("the answer was lost"), true
	if err := w.client.Status().Update(ctx, changed); err == nil {
		t.Fatal("want the error")
	}
	w.catchUp()
	step("nobody knows whether it was written", 4)
	step("but what was read then is known", 4)
}
