package slices

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// MayHelp reports whether a pod that was refused on the node as it was before, nil if it
// was not known, may find slices there now: one was let go, made or unpinned, or a change
// of a card went on. What only says that time goes by is no reason.
func (n *Node) MayHelp(before *Node) bool {
	if n.GotOn(before) {
		return true
	}
	for resource, count := range before.pinned {
		if n.pinned[resource] < count {
			return true
		}
	}
	for resource, count := range n.devices {
		if before.devices[resource] < count {
			return true
		}
	}
	was := make(map[v1alpha1.InstanceRef]*Instance, len(before.Instances))
	for i := range before.Instances {
		was[before.Instances[i].InstanceRef] = &before.Instances[i]
	}
	for i := range n.Instances {
		in := &n.Instances[i]
		old := was[in.InstanceRef]
		if in.free() && (old == nil || !old.free() || old.Pinned != in.Pinned) {
			return true
		}
	}
	return false
}

func alike(a, b Reshape) bool { return a.ID == b.ID && a.State == b.State && a.Undo == b.Undo }

func (in *Instance) free() bool { return in.usable && in.holder.Name == "" }

// Resources returns the kinds of slices that the node has or may have again, in order.
func (n *Node) Resources() []corev1.ResourceName {
	var out []corev1.ResourceName
	for i := range n.Instances {
		out = append(out, n.Instances[i].Resource)
	}
	for i := range n.Reshapes {
		out = append(out, n.Reshapes[i].From, n.Reshapes[i].Resource)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
