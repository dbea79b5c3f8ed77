package gather

import (
	"cmp"
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/podquota"
)

// rules are all that says what a waiting job is, but the job itself. They are not
// changed once made: equal clusters have the same rules, and jobs that were described
// by them need not be described again.
type rules struct {
	tenants *tenancy
	queues  map[string]*v1alpha1.TrainingQueue // by namespace/name
	classes priorities
	// defaultClass is the PriorityClass of a pod that names none.
	defaultClass string
	namespaces   map[string]*podquota.Rules
	made         *inputs // what they were made of
}

// newRules makes the rules anew only if something in them has changed.
func newRules(old *rules, in *inputs) *rules {
	slices.SortFunc(in.quotas.Items, func(a, b v1alpha1.TenantQuota) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(in.namespaces.Items, func(a, b corev1.Namespace) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(in.queues.Items, byKey[v1alpha1.TrainingQueue])
	slices.SortFunc(in.resourceQuotas.Items, byKey[corev1.ResourceQuota])
	slices.SortFunc(in.limitRanges.Items, byKey[corev1.LimitRange])
	r := &rules{made: in, classes: newPriorities(in.classes.Items)}
	for i := range in.classes.Items {
		if in.classes.Items[i].GlobalDefault {
			r.defaultClass = in.classes.Items[i].Name
		}
	}
	if old != nil && sameTenants(old.made, in) {
		r.tenants = old.tenants
		if maps.Equal(old.classes, r.classes) && old.defaultClass == r.defaultClass && sameQueues(old.made, in) {
			old.made = in
			old.refresh()
			return old
		}
	} else {
		r.tenants = newTenancy(in.quotas.Items, in.namespaces.Items)
	}
	r.refresh()
	return r
}

// refresh points to the newest objects, whose statuses may have changed.
func (r *rules) refresh() {
	in := r.made
	r.queues = make(map[string]*v1alpha1.TrainingQueue, len(in.queues.Items))
	for i := range in.queues.Items {
		q := &in.queues.Items[i]
		r.queues[q.Namespace+"/"+q.Name] = q
	}
	r.namespaces = map[string]*podquota.Rules{}
	of := func(namespace string) *podquota.Rules {
		if r.namespaces[namespace] == nil {
			r.namespaces[namespace] = &podquota.Rules{DefaultClass: r.defaultClass}
		}
		return r.namespaces[namespace]
	}
	for i := range in.resourceQuotas.Items {
		q := &in.resourceQuotas.Items[i]
		of(q.Namespace).Quotas = append(of(q.Namespace).Quotas, q)
	}
	for i := range in.limitRanges.Items {
		l := &in.limitRanges.Items[i]
		of(l.Namespace).Ranges = append(of(l.Namespace).Ranges, l)
	}
}

func byKey[T any, P interface {
	*T
	client.Object
}](a, b T) int {
	x, y := P(&a), P(&b)
	return cmp.Or(cmp.Compare(x.GetNamespace(), y.GetNamespace()), cmp.Compare(x.GetName(), y.GetName()))
}

func sameTenants(a, b *inputs) bool {
	return same(a.quotas.Items, b.quotas.Items, func(q *v1alpha1.TenantQuota) any { return &q.Spec }) &&
		same(a.namespaces.Items, b.namespaces.Items, func(n *corev1.Namespace) any { return n.Labels })
}

func sameQueues(a, b *inputs) bool {
	return same(a.queues.Items, b.queues.Items, func(q *v1alpha1.TrainingQueue) any { return &q.Spec }) &&
		same(a.resourceQuotas.Items, b.resourceQuotas.Items, func(q *corev1.ResourceQuota) any {
			return []any{&q.Spec, q.Status.Hard}
		}) &&
		same(a.limitRanges.Items, b.limitRanges.Items, func(l *corev1.LimitRange) any { return &l.Spec })
}

// same tells whether two sorted lists have the same objects, as far as part of each
// goes. Most have not even another version.
func same[T any, P interface {
	*T
	client.Object
}](a, b []T, part func(*T) any) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := P(&a[i]), P(&b[i])
		if x.GetNamespace() != y.GetNamespace() || x.GetName() != y.GetName() || x.GetUID() != y.GetUID() {
			return false
		}
		version := x.GetResourceVersion()
		if (version == "" || version != y.GetResourceVersion()) && !reflect.DeepEqual(part(&a[i]), part(&b[i])) {
			return false
		}
	}
	return true
}
