package scenarios

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// quotaWatch sees each Loan that is made, and whether it was within the quotas, in the API
// server's order: of two watches one may be ahead.
type quotaWatch struct {
	w *town

	mu   sync.Mutex
	seen []quotaEvent
}

// quotaEvent is a TenantQuota or a Loan as one of the watches showed it.
type quotaEvent struct {
	revision uint64
	object   *unstructured.Unstructured
	deleted  bool
	at       time.Time
}

// quotaBook is what was promised and is held.
type quotaBook struct {
	quotas map[string][]promised
	open   map[string]held
	// admitted are the jobs whose Loans were made, in that order. An attempt that comes to
	// nothing, since somebody wrote the job meanwhile, is followed by another.
	admitted []string
	over     []string
}

// promised is what a tenant may use, from a moment on.
type promised struct {
	at             time.Time
	nominal, limit int64 // limit is what it may borrow
}

type held struct {
	tenant string
	units  int64
}

// lately is how old a quota may be by which something is admitted: what was decided may be
// written a moment later.
const lately = 3 * time.Second

// report judges all that has been until now: it waits for what there is.
func (q *quotaWatch) report() (admitted, over []string) {
	q.w.t.Helper()
	for _, resource := range watchedByQuota {
		list, err := q.w.Dynamic().Resource(v1alpha1.GroupVersion.WithResource(resource)).List(q.w.t.Context(), metav1.ListOptions{})
		if err != nil {
			q.w.t.Fatal(err)
		}
		labtest.Eventually(q.w.t, patience, func(context.Context) (bool, string) {
			late := slices.DeleteFunc(slices.Clone(list.Items), func(u unstructured.Unstructured) bool { return q.has(&u) })
			return len(late) == 0, fmt.Sprintf("the watch has not seen %d of %d %s", len(late), len(list.Items), resource)
		})
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	slices.SortStableFunc(q.seen, func(a, b quotaEvent) int { return cmp.Compare(a.revision, b.revision) })
	book := &quotaBook{quotas: map[string][]promised{}, open: map[string]held{}}
	for _, e := range q.seen {
		read := book.loan
		if e.object.GetKind() == "TenantQuota" {
			read = book.quota
		}
		if err := read(e.object, e.deleted, e.at); err != nil {
			book.over = append(book.over, err.Error())
		}
	}
	return book.admitted, book.over
}

// has tells whether the object was seen as it is, or later.
func (q *quotaWatch) has(u *unstructured.Unstructured) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	revision := revisionOf(u)
	return slices.ContainsFunc(q.seen, func(e quotaEvent) bool { return e.object.GetUID() == u.GetUID() && e.revision >= revision })
}

func revisionOf(u *unstructured.Unstructured) uint64 {
	n, err := strconv.ParseUint(u.GetResourceVersion(), 10, 64)
	if err != nil {
		panic(err) // the API server's are numbers
	}
	return n
}

// watchedByQuota are the kinds, of Ebbtide's.
var watchedByQuota = []string{"tenantquotas", "loans"}

// watchQuotas begins to watch, of tenants that are all in one cohort or in none.
func (w *town) watchQuotas() *quotaWatch {
	w.t.Helper()
	q := &quotaWatch{w: w}
	for _, resource := range watchedByQuota {
		api := w.Dynamic().Resource(v1alpha1.GroupVersion.WithResource(resource))
		list, err := api.List(w.t.Context(), metav1.ListOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		for i := range list.Items {
			q.see(watch.Event{Type: watch.Added, Object: &list.Items[i]})
		}
		events, err := api.Watch(w.t.Context(), metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(events.Stop)
		go func() {
			for e := range events.ResultChan() {
				q.see(e)
			}
		}()
	}
	return q
}

func (q *quotaWatch) see(e watch.Event) {
	object, ok := e.Object.(*unstructured.Unstructured)
	if !ok {
		return // the watch ends
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.seen = append(q.seen, quotaEvent{revisionOf(object), object, e.Type == watch.Deleted, time.Now()})
}

func (q *quotaBook) quota(object *unstructured.Unstructured, deleted bool, now time.Time) error {
	var quota v1alpha1.TenantQuota
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &quota); err != nil {
		return err
	}
	p := promised{at: now}
	if f := quota.Spec.Flavors; !deleted && len(f) > 0 {
		p.nominal, p.limit = f[0].Nominal, unlimited
		if f[0].BorrowingLimit != nil {
			p.limit = *f[0].BorrowingLimit
		}
	}
	q.quotas[quota.Name] = append(q.quotas[quota.Name], p)
	return nil
}

// unlimited is more than there is.
const unlimited = 1 << 20

func (q *quotaBook) loan(object *unstructured.Unstructured, deleted bool, now time.Time) error {
	var loan v1alpha1.Loan
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &loan); err != nil {
		return err
	}
	name := client.ObjectKeyFromObject(&loan).String()
	_, known := q.open[name]
	switch over := deleted || meta.IsStatusConditionTrue(loan.Status.Conditions, v1alpha1.LoanReturned); {
	case over:
		delete(q.open, name)
	case !known:
		q.open[name] = held{loan.Spec.Borrower, unitsOf(&loan)}
		q.admitted = append(q.admitted, loan.Spec.Job.Name)
		q.judge(name, now)
	}
	return nil
}

// judge checks an admission by what the quotas were lately.
func (q *quotaBook) judge(name string, now time.Time) {
	use, all := int64(0), int64(0)
	tenant := q.open[name].tenant
	for _, h := range q.open {
		all += h.units
		if h.tenant == tenant {
			use += h.units
		}
	}
	together := int64(0)
	for _, versions := range q.quotas {
		together += most(versions, now, func(p promised) int64 { return p.nominal })
	}
	alone := most(q.quotas[tenant], now, func(p promised) int64 { return p.nominal + p.limit })
	if all > together || use > alone {
		q.over = append(q.over, fmt.Sprintf("%s was admitted: %s has %d units of %d, all have %d of %d", name, tenant, use, alone, all, together))
	}
}

// most is the largest that something was lately.
func most(versions []promised, now time.Time, of func(promised) int64) (n int64) {
	for i, p := range versions {
		if last := i == len(versions)-1; last || now.Sub(versions[i+1].at) < lately {
			n = max(n, of(p))
		}
	}
	return n
}

// The watch itself finds what is over, and leaves alone what is not.
func TestQuotaWatchFinds(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		name   string
		quotas map[string][]promised
		open   map[string]held
		guilty bool
	}{
		{"within", map[string][]promised{"a": {{now, 2, unlimited}}}, map[string]held{"new": {"a", 2}}, false},
		{"over", map[string][]promised{"a": {{now, 2, unlimited}}}, map[string]held{"new": {"a", 2}, "b": {"a", 1}}, true},
		{"over the limit", map[string][]promised{"a": {{now, 2, 0}}, "b": {{now, 8, 0}}}, map[string]held{"new": {"a", 3}}, true},
		{"borrowed", map[string][]promised{"a": {{now, 2, 1}}, "b": {{now, 8, 0}}}, map[string]held{"new": {"a", 3}}, false},
		{"deleted long ago", map[string][]promised{"a": {{now.Add(-time.Hour), 8, 0}, {now.Add(-time.Minute), 0, 0}}}, map[string]held{"new": {"a", 1}}, true},
		{"deleted just now", map[string][]promised{"a": {{now.Add(-time.Hour), 8, 0}, {now.Add(-time.Second), 0, 0}}}, map[string]held{"new": {"a", 1}}, false},
		{"no quota at all", nil, map[string]held{"new": {"a", 1}}, true},
	} {
		q := &quotaBook{quotas: c.quotas, open: c.open}
		q.judge("new", now)
		if (len(q.over) > 0) != c.guilty {
			t.Errorf("%s: %v, want guilty=%t", c.name, q.over, c.guilty)
		}
	}
}
