package gpunodes

import (
	"cmp"
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

const (
	// refusedFor is how long a GPU is left alone whose agent has refused a change: that long
	// after the first refusal, twice as long after each further one, refusedMost at most.
	refusedFor  = 5 * time.Minute
	refusedMost = 4 * time.Hour
)

// refusals are the GPUs whose agents refused changes, by UUID. One is forgotten when a
// change of its GPU was made, or when its layout has become another by somebody else's doing:
// then why it was refused may be over.
type refusals map[string]*refusal

type refusal struct {
	node types.UID
	id   string // of the last change
	why  string
	// since is when it was refused, by the agent's clock; until is when it is forgiven, by
	// ours, and over says that this has come.
	since, until time.Time
	over         bool
	wait         time.Duration
	// layout is the fingerprint that the refused change left.
	layout string
}

// learn takes over what the agent of a node has refused, and what it made since.
func (rs *refusals) learn(node *v1alpha1.GPUNode, now time.Time) {
	changing := map[string]bool{}
	for i := range node.Spec.Reshapes {
		want := &node.Spec.Reshapes[i]
		changing[want.GPU] = true
		said := Status(node, want.ID)
		r := (*rs)[want.GPU]
		switch {
		case said == nil:
		case said.State == v1alpha1.ReshapeMade && r != nil && said.Since.After(r.since):
			delete(*rs, want.GPU)
		case said.State == v1alpha1.ReshapeRefused && (r == nil || r.id != want.ID):
			rs.add(want.GPU, &refusal{node: node.UID, id: want.ID, why: said.Message, since: said.Since.Time}, now)
		}
	}
	layouts := map[string]string{}
	for i := range node.Status.GPUs {
		layouts[node.Status.GPUs[i].UUID] = node.Status.GPUs[i].Fingerprint
	}
	maps.DeleteFunc(*rs, func(gpu string, r *refusal) bool {
		if r.node != node.UID {
			return false
		}
		r.over = !now.Before(r.until)
		layout, seen := layouts[gpu]
		switch {
		case !seen: // lost for a while
		case changing[gpu]:
			r.layout = layout
		default:
			return layout != r.layout
		}
		return false
	})
}

// add notes a refusal, which counts for longer than the one before it did.
func (rs *refusals) add(gpu string, r *refusal, now time.Time) {
	r.wait = refusedFor
	if before := (*rs)[gpu]; before != nil {
		r.wait = min(2*before.wait, refusedMost)
	}
	r.until = now.Add(r.wait)
	if *rs == nil {
		*rs = refusals{}
	}
	(*rs)[gpu] = r
}

// keep drops what was refused on nodes that are gone.
func (rs refusals) keep(there map[types.UID]bool) {
	maps.DeleteFunc(rs, func(_ string, r *refusal) bool { return !there[r.node] })
}

// refusedLately says why a GPU is left alone; "" if it is not.
func (n *Nodes) refusedLately(gpu string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.costs.refusals[gpu]; r != nil && !r.over {
		return fmt.Sprintf("its agent refused a change lately: %s", cmp.Or(r.why, "it does not say why"))
	}
	return ""
}
