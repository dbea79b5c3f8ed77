package dra

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/boards"
)

// expect takes the changes of layouts that are asked for now.
func (n *Node) expect(asked []v1alpha1.Reshape) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if equality.Semantic.DeepEqual(n.asked, asked) {
		return
	}
	there := func(r v1alpha1.Reshape) bool {
		return slices.ContainsFunc(asked, func(a v1alpha1.Reshape) bool { return a.ID == r.ID })
	}
	n.dropped = slices.DeleteFunc(n.dropped, there)
	for _, r := range n.asked {
		if r.Undo = true; !there(r) && !n.settled(r) {
			n.dropped = append(n.dropped, r)
		}
	}
	n.asked = slices.Clone(asked)
	n.tell()
}

// settled reports whether the agent has nothing to do for a change that is not asked for:
// it has not taken it over, or is through with it.
func (n *Node) settled(r v1alpha1.Reshape) bool {
	state, known := n.states[r.ID]
	return !known || v1alpha1.ReshapeOver(state)
}

// expected are the changes that are asked for, and those that are undone as they no longer
// are.
func (n *Node) expected() []v1alpha1.Reshape { return slices.Concat(n.asked, n.dropped) }

// changing reports whether a layout is being changed, or about to be.
func (n *Node) changing() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, state := range n.states { // also of one that is no longer asked for, and so undone
		if !v1alpha1.ReshapeOver(state) && state != v1alpha1.ReshapeMade {
			return true
		}
	}
	return slices.ContainsFunc(n.expected(), func(r v1alpha1.Reshape) bool {
		state, known := n.states[r.ID]
		return !known || state == v1alpha1.ReshapeMade && r.Undo
	})
}

// going are the places of a card that a change takes or has taken. They are not offered
// from when it is asked for: what is allocated there while it is made could not be
// prepared.
func (n *Node) going(gpu string) []mig.Placed {
	var out []mig.Placed
	for _, r := range n.expected() {
		state := n.states[r.ID]
		if r.GPU != gpu || v1alpha1.ReshapeOver(state) {
			continue
		}
		places := r.Destroy
		if r.Undo || state == v1alpha1.ReshapeUndoing || state == v1alpha1.ReshapeStuck {
			places = r.Create
		}
		for _, p := range places {
			out = append(out, boards.Placed(p))
		}
	}
	return out
}
