package actuate

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

// listen remembers of the nodes with loans when they answered last, for those whose Lease
// goes away with them.
func (a *Actuator) listen(view *gather.View) {
	used := map[string]bool{}
	for _, object := range view.Loans {
		maps.Copy(used, gather.Nodes(object))
	}
	if a.heard == nil {
		a.heard = map[string]time.Time{}
	}
	maps.DeleteFunc(a.heard, func(node string, _ time.Time) bool { return !used[node] })
	for node := range used {
		if view.Answers(node) {
			a.heard[node] = view.Snapshot.Now
		}
	}
}

// lastHeard is when the first of those nodes was last heard of that are lost, nil if none is
// or nobody knows.
func (a *Actuator) lastHeard(ctx context.Context, grants []v1alpha1.Grant) *metav1.MicroTime {
	var first time.Time
	seen := map[string]bool{}
	for _, g := range grants {
		if seen[g.Node] {
			continue
		}
		seen[g.Node] = true
		if at := a.nodeHeard(ctx, g.Node); !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	if first.IsZero() {
		return nil
	}
	if now := a.Clock.Now(); first.After(now) { // the node's clock is ahead
		first = now
	}
	at := metav1.NewMicroTime(first)
	return &at
}

// nodeHeard is when a node was last heard of; zero if it answers, or nobody knows. Its
// kubelet renews the Lease every few seconds. Where that is gone too, it was not silent for
// long when it was seen last; what the node says itself may be minutes old.
func (a *Actuator) nodeHeard(ctx context.Context, name string) time.Time {
	var node corev1.Node
	var said time.Time
	err := a.Live.Get(ctx, client.ObjectKey{Name: name}, &node)
	if err != nil && !apierrors.IsNotFound(err) {
		return time.Time{}
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			if c.Status == corev1.ConditionTrue {
				return time.Time{}
			}
			said = c.LastHeartbeatTime.Time
		}
	}
	var lease coordinationv1.Lease
	err = a.Live.Get(ctx, client.ObjectKey{Namespace: corev1.NamespaceNodeLease, Name: name}, &lease)
	switch known := a.heard[name]; {
	case err == nil && lease.Spec.RenewTime != nil:
		return lease.Spec.RenewTime.Time
	case !known.IsZero():
		return known
	}
	return said
}

// lostPayload is what LOST and SHED_LOST say about when the units were lost.
func lostPayload(object *v1alpha1.Loan) json.RawMessage {
	if object.Status.LastHeard == nil {
		return nil
	}
	return asJSON(ledger.LostPayload{LastHeard: object.Status.LastHeard.UTC()})
}
