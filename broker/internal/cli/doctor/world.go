package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
)

// read is a list, or why there is none.
type read[T any] struct {
	items []T
	err   error
}

// unread says why a check cannot be made.
func unread(what string, err error) Finding {
	switch {
	case apierrors.IsForbidden(err):
		return unknown("ask an administrator to run this, or to let you list "+what, "you may not list %s", what)
	case meta.IsNoMatchError(err) || apierrors.IsNotFound(err):
		return unknown("see the check definitions", "the API server serves no %s", what)
	}
	return unknown("see whether the API server answers: kubectl get --raw /readyz", "%s cannot be listed: %v", what, err)
}

// world is what several checks need.
type world struct {
	nodes      read[corev1.Node]
	pods       read[corev1.Pod] // that ask for GPUs
	system     read[corev1.Pod]
	namespaces read[corev1.Namespace]
	quotas     read[v1alpha1.TenantQuota]
	policies   read[v1alpha1.LendingPolicy]
	queues     read[v1alpha1.TrainingQueue]
	gpuNodes   read[v1alpha1.GPUNode]
	// advises: by the broker's configuration no policy lends, whatever its mode.
	advises bool
}

// pageSize bounds one answer of the API server.
const pageSize = 500

func (c *Cluster) look(ctx context.Context) {
	w := &c.seen
	w.nodes.err = each(ctx, c.API, &corev1.NodeList{}, func(l *corev1.NodeList) { w.nodes.items = append(w.nodes.items, l.Items...) })
	w.pods.err = each(ctx, c.API, &corev1.PodList{}, func(l *corev1.PodList) {
		for i := range l.Items {
			if p := &l.Items[i]; units(&p.Spec) > 0 && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
				w.pods.items = append(w.pods.items, *p)
			}
		}
	})
	w.system.err = each(ctx, c.API, &corev1.PodList{}, func(l *corev1.PodList) { w.system.items = append(w.system.items, l.Items...) }, client.InNamespace(system))
	w.namespaces.err = each(ctx, c.API, &corev1.NamespaceList{}, func(l *corev1.NamespaceList) { w.namespaces.items = append(w.namespaces.items, l.Items...) })
	w.quotas.err = each(ctx, c.API, &v1alpha1.TenantQuotaList{}, func(l *v1alpha1.TenantQuotaList) { w.quotas.items = append(w.quotas.items, l.Items...) })
	w.policies.err = each(ctx, c.API, &v1alpha1.LendingPolicyList{}, func(l *v1alpha1.LendingPolicyList) { w.policies.items = append(w.policies.items, l.Items...) })
	w.queues.err = each(ctx, c.API, &v1alpha1.TrainingQueueList{}, func(l *v1alpha1.TrainingQueueList) { w.queues.items = append(w.queues.items, l.Items...) })
	w.gpuNodes.err = each(ctx, c.API, &v1alpha1.GPUNodeList{}, func(l *v1alpha1.GPUNodeList) { w.gpuNodes.items = append(w.gpuNodes.items, l.Items...) })
	w.advises = c.advises(ctx)
}

// each hands on all pages of a list.
func each[L client.ObjectList](ctx context.Context, api client.Reader, list L, use func(L), options ...client.ListOption) error {
	options = append(options, client.Limit(pageSize))
	for next := ""; ; {
		if err := api.List(ctx, list, append(slices.Clone(options), client.Continue(next))...); err != nil {
			return err
		}
		use(list)
		if next = list.GetContinue(); next == "" {
			return nil
		}
	}
}

// units of GPUs that a pod asks for.
func units(spec *corev1.PodSpec) (n int64) {
	for i := range spec.Containers {
		for name, quantity := range spec.Containers[i].Resources.Limits {
			if v1alpha1.GPU(name) {
				n += quantity.Value()
			}
		}
	}
	return n
}

// allocatable units of all GPU resources that pass.
func allocatable(node *corev1.Node, passes func(corev1.ResourceName) bool) (n int64) {
	for name, quantity := range node.Status.Allocatable {
		if v1alpha1.GPU(name) && passes(name) {
			n += quantity.Value()
		}
	}
	return n
}

// tenantsOf are the tenants that each namespace belongs to; more than one is a fault.
func (w *world) tenantsOf() map[string][]*v1alpha1.TenantQuota {
	chosen, _ := gather.Selected(w.quotas.items, w.namespaces.items)
	tenants := map[string][]*v1alpha1.TenantQuota{}
	for i, by := range chosen {
		for _, j := range by {
			name := w.namespaces.items[i].Name
			tenants[name] = append(tenants[name], &w.quotas.items[j])
		}
	}
	return tenants
}

// some names the first few of many.
func some(names []string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	const shown = 5
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

// count is "1 node" or "2 nodes".
func count(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
