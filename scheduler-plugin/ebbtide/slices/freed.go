package slices

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// MayHelp reports whether a pod that was refused on the node as it was before, nil if it
// was not known, may find slices there now: one was let go, made or unpinned, nobody is on
// one that somebody may have been on, a pod is on another than was thought, one is usable
// again whose holder is not there, others allocate from here on, or a change of a card went
// on. What only says that time goes by is no reason, nor is a pod that is where it was
// reserved, which reserved returns.
func (n *Node) MayHelp(before *Node, reserved func(v1alpha1.GPUHolder) []v1alpha1.InstanceRef) bool {
	if n.GotOn(before) || n.Dynamic != before.Dynamic {
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
		if in.opens(old) {
			return true
		}
		if in.moves(old) && !slices.Contains(reserved(in.holder), in.InstanceRef) || in.passes(old) {
			return true
		}
	}
	return false
}

// opens reports whether a pod may be given the instance that was not before, nil if it was
// not there.
func (in *Instance) opens(before *Instance) bool {
	return in.free() && (before == nil || !before.free() || before.Pinned != in.Pinned || before.unsure && !in.unsure)
}

// moves reports whether the instance is its holder's now: what that was thought to have is
// open, unless it is this one.
func (in *Instance) moves(before *Instance) bool {
	return in.held() && (before == nil || in.holder != before.holder || in.usable && !before.usable)
}

// passes reports whether it was another's before, who has what it was reserved then.
func (in *Instance) passes(before *Instance) bool {
	return before != nil && before.held() && in.held() && in.holder != before.holder
}

func alike(a, b Reshape) bool { return a.ID == b.ID && a.State == b.State && a.Undo == b.Undo }

func (in *Instance) free() bool { return in.usable && !in.held() }

func (in *Instance) held() bool { return in.holder.Name != "" }

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
