package v1alpha1

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// JustSettled is how long after the end of a change the node's object may be seen as it
// was before it.
const JustSettled = 5 * time.Second

// Settled is when a node was last seen to settle, by the clock of whoever looks: a change
// that has ended may be off the list, and its end not over. The zero Settled has seen none.
//
// +kubebuilder:object:generate=false
type Settled struct{ at time.Time }

// See returns what is known once it is seen at now whether the node settles.
func (s Settled) See(settling bool, now time.Time) Settled {
	if settling {
		return Settled{now}
	}
	return s
}

// Lately reports whether the node was seen to settle within JustSettled before now.
func (s Settled) Lately(now time.Time) bool {
	return !s.at.IsZero() && now.Sub(s.at) < JustSettled
}

// Settling reports whether a change of the layout of one of the node's GPUs is under way
// or has only just ended. At the end of each the device plugin starts anew, and until it
// has, the node offers nothing of what it hands out, neither what has changed nor the rest.
// That is not lost: what counts meanwhile is what the agent sees (Offers).
//
// It is bounded by what the agent says and not by who reads it: the agent waits two
// minutes for the kubelet to see a change, and then calls it Made or Undone although it was
// not seen; one that goes neither on nor back is Stuck; and while somebody holds what is to
// be undone, or the agent may change nothing, no plugin is started anew. Whether the agent
// is still heard from is the reader's to know (Heard), and so is that a change was seen that
// is off the list now (Settled).
func (n *GPUNode) Settling() bool {
	if n.Status.Allocation == AllocationDynamicResources || n.mayChangeNothing() {
		return false
	}
	for i := range n.Spec.Reshapes {
		if n.settling(&n.Spec.Reshapes[i]) {
			return true
		}
	}
	return false
}

// mayChangeNothing reports whether the agent says that it cannot get on. That who holds the
// slices is not known passes, as when a pod is bound and not admitted yet, and nothing of the
// kind for SilentAfter.
func (n *GPUNode) mayChangeNothing() bool {
	ready := meta.FindStatusCondition(n.Status.Conditions, GPUNodeReady)
	if ready == nil || ready.Status != metav1.ConditionFalse {
		return false
	}
	return ready.Reason != ReasonHoldersUnknown || n.Status.Heartbeat.Sub(ready.LastTransitionTime.Time) >= SilentAfter
}

func (n *GPUNode) settling(r *Reshape) bool {
	said := n.said(r.ID)
	switch {
	case ReshapeOver(said.State), said.State == ReshapeMade && !r.Undo:
		// Both are by the node's clock.
		return n.Status.Heartbeat.Sub(said.Since.Time) < JustSettled
	case said.State == ReshapeStuck:
		return false
	}
	back := r.Undo || said.State == ReshapeUndoing
	for i := range n.Status.GPUs {
		if gpu := &n.Status.GPUs[i]; gpu.UUID == r.GPU {
			return gpu.MIG && !(back && held(gpu, r.Create))
		}
	}
	return false // it can go on when the GPU is seen again
}

// said is what the agent says of a change; nothing, if it has not seen it yet.
func (n *GPUNode) said(id string) ReshapeStatus {
	for i := range n.Status.Reshapes {
		if n.Status.Reshapes[i].ID == id {
			return n.Status.Reshapes[i]
		}
	}
	return ReshapeStatus{}
}

// held reports whether somebody is on an instance at one of the places.
func held(gpu *GPUStatus, places []MIGPlacement) bool {
	for i := range gpu.Instances {
		in := &gpu.Instances[i]
		if in.at(places) && (in.Holder != nil || in.Processes != nil && *in.Processes > 0) {
			return true
		}
	}
	return false
}

func (in *MIGInstance) at(places []MIGPlacement) bool {
	for _, p := range places {
		if p.Profile == in.Profile && p.Start == in.Start {
			return true
		}
	}
	return false
}

// Offers returns how many units of each resource the node has by its agent's word, and how
// many of them it hands out once its device plugin has seen them: no fewer than these, of
// which the agent knows that they are whole, on a healthy GPU and not about to go.
func (n *GPUNode) Offers() (has, offers map[corev1.ResourceName]int64) {
	has, offers = map[corev1.ResourceName]int64{}, map[corev1.ResourceName]int64{}
	for i := range n.Status.GPUs {
		gpu := &n.Status.GPUs[i]
		if !gpu.MIG {
			if has[WholeGPU]++; gpu.Healthy {
				offers[WholeGPU]++
			}
			continue
		}
		for j := range gpu.Instances {
			in := &gpu.Instances[j]
			if in.State == InstanceAbsent || n.goes(gpu.UUID, in) {
				continue
			}
			name := in.resource()
			if has[name]++; gpu.Healthy && in.State == InstanceReady {
				offers[name]++
			}
		}
	}
	return has, offers
}

// goes reports whether the agent may still destroy the instance for a change.
func (n *GPUNode) goes(gpu string, in *MIGInstance) bool {
	for i := range n.Spec.Reshapes {
		r := &n.Spec.Reshapes[i]
		if r.GPU != gpu {
			continue
		}
		state := n.said(r.ID).State
		switch state {
		case "", ReshapeMaking, ReshapeMade:
			if in.at(r.Destroy) {
				return true
			}
		}
		if (r.Undo || state == ReshapeUndoing) && !ReshapeOver(state) && in.at(r.Create) {
			return true
		}
	}
	return false
}

// resource is what the instance is advertised as, by its name if its agent does not say.
func (in *MIGInstance) resource() corev1.ResourceName {
	if in.Resource != "" {
		return corev1.ResourceName(in.Resource)
	}
	return corev1.ResourceName("nvidia.com/mig-" + strings.ReplaceAll(in.Name, "+", "."))
}
