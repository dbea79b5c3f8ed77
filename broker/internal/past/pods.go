package past

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
)

// pod is one that held GPUs.
type pod struct {
	namespace, name, resource, node string
	units                           int64
	ownerKind, owner                string
}

// pods are all that held GPUs at any time, with their owners.
func (a *asker) pods(ctx context.Context) error {
	type key struct{ namespace, name string }
	found := map[key]*pod{}
	asked := fmt.Sprintf(`kube_pod_container_resource_requests{resource=~"%s",node!=""}`, gpuResources)
	// Of a container that several kube-state-metrics tell of, each counts once.
	each := "max by (namespace, pod, container, node, resource) (" + asked + ")"
	query := "max by (namespace, pod, node, resource) (max_over_time(sum by (namespace, pod, node, resource) (" + each + ")[%s:1m]))"
	err := a.days(ctx, "the GPUs of pods", query, func(_ int, labels map[string]string, value float64) {
		if value >= 1 && value <= most {
			found[key{labels["namespace"], labels["pod"]}] = &pod{
				namespace: labels["namespace"], name: labels["pod"], resource: labels["resource"], node: labels["node"], units: int64(value),
			}
		}
	})
	if err != nil {
		return err
	}
	query = `max by (namespace, pod, owner_kind, owner_name) (max_over_time(kube_pod_owner{owner_is_controller="true"}[%[1]s])` +
		` and on (namespace, pod) max_over_time(` + asked + `[%[1]s]))`
	err = a.days(ctx, "the owners of pods", query, func(_ int, labels map[string]string, _ float64) {
		if p := found[key{labels["namespace"], labels["pod"]}]; p != nil {
			p.ownerKind, p.owner = labels["owner_kind"], labels["owner_name"]
		}
	})
	if err != nil {
		return err
	}
	for _, p := range found {
		a.held = append(a.held, *p)
	}
	slices.SortFunc(a.held, func(x, y pod) int {
		return cmp.Or(strings.Compare(x.namespace, y.namespace), strings.Compare(x.name, y.name))
	})
	a.strangers()
	return nil
}

// strangers notes the pods that are neither a service's nor a job's.
func (a *asker) strangers() {
	for i := range a.held {
		p := &a.held[i]
		served := slices.ContainsFunc(a.window.Policies, func(l policy) bool { return serves(&l, p) })
		switch {
		case p.ownerKind == "Job" || served:
		case p.ownerKind == "ReplicaSet" || p.ownerKind == "StatefulSet" || p.ownerKind == "DaemonSet" || p.ownerKind == "":
			a.notes.Count("pods with GPUs of services that no LendingPolicy names, left out: what they held counts as free")
		default:
			a.notes.Count("pods with GPUs that belong to a " + p.ownerKind + ", left out: export the history of these jobs from Kueue or Volcano")
		}
	}
}

// flavorOf a pod's units.
func (a *asker) flavorOf(p *pod) string {
	if flavor, ok := a.flavors[spot{p.node, p.resource}]; ok {
		return flavor
	}
	return a.window.flavor(p.resource, nil) // its node was gone before it was seen
}
