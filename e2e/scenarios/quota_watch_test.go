package scenarios

import (
	"fmt"
	"slices"
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
)

// quotaWatch sees each Loan that is made, in the API server's order, and whether it was
// within the quotas.
type quotaWatch struct {
	mu       sync.Mutex
	quotas   map[string][]promised
	open     map[string]held
	admitted int
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

func (q *quotaWatch) report() (admitted int, over []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.admitted, slices.Clone(q.over)
}

// watchQuotas begins to watch, of tenants that are all in one cohort or in none.
func (w *town) watchQuotas() *quotaWatch {
	w.t.Helper()
	q := &quotaWatch{quotas: map[string][]promised{}, open: map[string]held{}}
	for _, resource := range []string{"tenantquotas", "loans"} {
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
	var err error
	if object.GetKind() == "TenantQuota" {
		err = q.quota(object, e.Type == watch.Deleted, time.Now())
	} else {
		err = q.loan(object, e.Type == watch.Deleted, time.Now())
	}
	if err != nil {
		q.over = append(q.over, err.Error())
	}
}

func (q *quotaWatch) quota(object *unstructured.Unstructured, deleted bool, now time.Time) error {
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

func (q *quotaWatch) loan(object *unstructured.Unstructured, deleted bool, now time.Time) error {
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
		q.admitted++
		q.judge(name, now)
	}
	return nil
}

// judge checks an admission by what the quotas were lately.
func (q *quotaWatch) judge(name string, now time.Time) {
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
		q := &quotaWatch{quotas: c.quotas, open: c.open}
		q.judge("new", now)
		if _, over := q.report(); (len(over) > 0) != c.guilty {
			t.Errorf("%s: %v, want guilty=%t", c.name, over, c.guilty)
		}
	}
}
