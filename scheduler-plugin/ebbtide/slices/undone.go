package slices

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Undone returns the node as it will be once the reshapes are undone that gone names by
// their IDs: what they made is gone, and what they took is there again and nobody's.
func (n *Node) Undone(gone func(id string) bool) *Node {
	out := *n
	out.Instances, out.Reshapes = nil, nil
	moved := make([]int, len(n.Reshapes)) // where each reshape is in out
	for i := range n.Reshapes {
		moved[i] = -1
		if !gone(n.Reshapes[i].ID) {
			moved[i] = len(out.Reshapes)
			out.Reshapes = append(out.Reshapes, n.Reshapes[i])
		}
	}
	for _, in := range n.Instances {
		if in.made >= 0 {
			if in.made = moved[in.made]; in.made < 0 {
				continue
			}
		}
		if in.going >= 0 {
			in.going = moved[in.going]
		}
		out.Instances = append(out.Instances, in)
	}
	for i := range n.Reshapes {
		if moved[i] >= 0 {
			continue
		}
		r := &n.Reshapes[i]
		for _, at := range r.destroy {
			if out.at(placeOf(r.GPU, at)) < 0 {
				out.Instances = append(out.Instances, n.again(r.GPU, at))
			}
		}
	}
	return &out
}

// again is an instance that is made anew at the place.
func (n *Node) again(gpu string, at v1alpha1.MIGPlacement) Instance {
	at.Generation = 0
	var nobody int32
	return n.instance(&v1alpha1.GPUStatus{UUID: gpu, Healthy: true}, &v1alpha1.MIGInstance{MIGPlacement: at, State: v1alpha1.InstanceReady, Processes: &nobody})
}

// Allocatable returns how many units of the resource the node will offer once those
// reshapes are undone, if now it offers so many. What a kubelet says while slices come
// and go is late, and so the least of that and of what the agent sees counts for what the
// reshapes leave alone.
func (n *Node) Allocatable(resource corev1.ResourceName, now int64, gone func(id string) bool) int64 {
	var back, beside int64
	touched := map[place]bool{}
	for i := range n.Reshapes {
		r := &n.Reshapes[i]
		if !gone(r.ID) {
			continue
		}
		if r.From == resource {
			back += r.Count
		}
		for _, at := range slices.Concat(r.destroy, r.create) {
			touched[placeOf(r.GPU, at)] = true
		}
	}
	for i := range n.Instances {
		if in := &n.Instances[i]; in.Resource == resource && !touched[in.place()] {
			beside++
		}
	}
	return min(now, beside) + back
}

// Count returns how many units of the resource the node's layout has, there or not.
func (n *Node) Count(resource corev1.ResourceName) int64 {
	var count int64
	for i := range n.Instances {
		if n.Instances[i].Resource == resource {
			count++
		}
	}
	return count
}
