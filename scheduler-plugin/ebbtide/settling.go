package ebbtide

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
	migslices "github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/slices"
)

// whyUnsettled says why the cycle's pod has to keep off a node until a change of its cards
// is settled; empty if there is no such reason.
func whyUnsettled(c *cycle, n *migslices.Node, asks []migslices.Ask) string {
	if c.settled {
		return ""
	}
	resource := n.Unsettled(asks)
	if resource == "" {
		return ""
	}
	return unsettledText(resource)
}

func unsettledText(resource corev1.ResourceName) string {
	return fmt.Sprintf("slices of %s on the node are being made into others or come back, and until that is done the kubelet may hand out one that is gone", resource)
}

// awaitChanges lets a dry run on the scene's node go by what will be there once the
// changes of its cards are settled that keep the cycle's pod off it now: that takes no
// longer than undoing them would, and so nothing is undone or taken back for a pod that
// then fits. One that has taken longer than assumedUndo is in the way until it is undone.
func (p *Ebbtide) awaitChanges(s *scene, node string, now time.Time) {
	n := p.cards.on(node)
	if !n.Fresh(now) || n.Dynamic || len(n.Reshapes) == 0 {
		return
	}
	s.state = s.state.Clone() // what it says is of this node alone
	c, ok := readCycle(s.state)
	if !ok {
		return
	}
	for i := range n.Reshapes {
		r := &n.Reshapes[i]
		if !slices.ContainsFunc(c.requests, func(ask book.Request) bool { return r.Unsettles(ask.Resource) }) {
			continue
		}
		if began := p.undos.unsettled(reshapeKey{node, r.ID}, now); now.After(began.Add(assumedUndo)) {
			c.settled = false
			return
		}
		c.settled = true
	}
}
