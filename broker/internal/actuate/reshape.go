package actuate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/mig"
)

// Reasons of events and entries about changes of GPUs' layouts.
const (
	reasonReshaping = "Reshaping"
	reasonMade      = "ReshapeMade"
	reasonUndone    = "ReshapeUndone"
	reasonRefused   = "ReshapeRefused"
	reasonMissing   = "ReshapeMissing"
	reasonUnbegun   = "ReshapeNotBegun"
	reasonWedged    = "ReshapeStuck"
	reasonRecovered = "Recovered"
)

// making is a change of a GPU's layout whose RESHAPE_INTENT is on disk.
type making struct {
	action *lend.ReshapeAction
	id     string // in the ledger and the GPUNode
}

// intendReshapes writes down the plan's new changes.
func (r *round) intendReshapes(plan *lend.Plan) []*making {
	var makings []*making
	for i := range plan.Reshapes {
		action := &plan.Reshapes[i]
		if action.Kind != lend.ReshapeMake || r.stopped() {
			continue
		}
		err, m := r.mayLend(), (*making)(nil)
		if err == nil {
			m, err = r.intendReshape(action)
		}
		if err != nil {
			r.fail(fmt.Errorf("reshape a GPU of %s: %w", action.Node, err))
		} else if m != nil {
			makings = append(makings, m)
		}
	}
	return makings
}

// mostReshapes bounds how often one operation is tried again under another ID.
const mostReshapes = 99

// intendReshape writes RESHAPE_INTENT. An ID that was used for a change that is over, since
// the agent refused it, is not used again: the next one has a number behind it.
func (r *round) intendReshape(action *lend.ReshapeAction) (*making, error) {
	node := r.view.GPUNodes[action.Node]
	if node == nil || action.Plan == nil {
		return nil, errors.New("it is not in the snapshot")
	}
	e := ledger.Entry{
		Job: action.Job, JobUID: action.JobUID, Reason: cmp.Or(action.Reason, reasonReshaping), Message: action.Message,
		Payload: asJSON(course.Reshape{
			Node: action.Node, GPU: action.Plan.GPU, Lender: action.Lender,
			From: action.From, Count: action.Count, To: action.To, Made: action.Made,
		}),
		Signals: causes(r.view, []lend.Grant{{Lender: action.Lender}}),
	}
	if job := r.waiting(action.JobUID); job != nil {
		e.Borrower = job.Tenant
	}
	for n := 1; n <= mostReshapes; n++ {
		e.OpID = action.ID
		if n > 1 {
			e.OpID = fmt.Sprintf("%s%s%d", action.ID, again, n)
		}
		if slices.ContainsFunc(node.Spec.Reshapes, func(s v1alpha1.Reshape) bool { return s.ID == e.OpID }) {
			return nil, nil // it is under way
		}
		if _, err := r.record(ledger.ReshapeIntent, "", e); err != nil {
			return nil, err
		}
		if _, open := r.Ledger.Reshape(e.OpID); open {
			return &making{action, e.OpID}, nil
		}
	}
	return nil, fmt.Errorf("operation %s was tried %d times", action.ID, mostReshapes)
}

// again stands before the number of a repeated operation.
const again = "."

// reshapings are the steps that put what was written down into GPUNodes, one for each node.
func (r *round) reshapings(makings []*making, withdrawn map[string]bool) []step {
	byNode := map[string][]*making{}
	var steps []step
	for _, m := range makings {
		if !withdrawn[m.action.Lender] {
			steps = append(steps, step{"give up reshape", m.id, func(context.Context) error {
				return r.endReshape(ledger.ReshapeFailed, m.id, reasonUnbegun, "units of "+m.action.Lender+" could not be withdrawn", 0)
			}})
			continue
		}
		byNode[m.action.Node] = append(byNode[m.action.Node], m)
	}
	for name, some := range byNode {
		steps = append(steps, step{"reshape the GPUs of", name, func(ctx context.Context) error { return r.reshape(ctx, name, some) }})
	}
	return steps
}

// reshape writes changes into a GPUNode. That nobody has written it since it was seen is a
// precondition, unless it was no more than a heartbeat: else the next decision sees what
// it was, and what was written down and is not wanted any more then is given up by
// missingReshapes.
func (r *round) reshape(ctx context.Context, name string, makings []*making) error {
	base := r.gpuNode(name)
	next := withReshapes(base, makings)
	if err := r.writeGPUNode(ctx, next); err != nil {
		return err
	}
	if !r.wroteGPUNode(next) {
		var live v1alpha1.GPUNode
		if err := r.Live.Get(ctx, client.ObjectKey{Name: name}, &live); err != nil {
			return client.IgnoreNotFound(err)
		}
		if !sameLayouts(base, &live) {
			return nil
		}
		next = withReshapes(&live, makings)
		if err := r.writeGPUNode(ctx, next); err != nil || !r.wroteGPUNode(next) {
			return err
		}
	}
	for _, m := range makings {
		a := m.action
		r.log.Info("Reshaping", "reshape", m.id, "node", name, "gpu", a.Plan.GPU, "lender", a.Lender, "from", a.From, "to", a.To, "job", a.Job)
		r.tellLender(a.Lender, reasonReshaping, "Reshape", "began to make %s", a.Message)
	}
	return nil
}

func withReshapes(node *v1alpha1.GPUNode, makings []*making) *v1alpha1.GPUNode {
	next := node.DeepCopy()
	for _, m := range makings {
		next.Spec.Reshapes = append(next.Spec.Reshapes, newReshape(next, m))
	}
	return next
}

// sameLayouts tells whether nothing has changed that a plan goes by: what is wanted, and
// what is there.
func sameLayouts(a, b *v1alpha1.GPUNode) bool {
	return a.UID == b.UID && apiequality.Semantic.DeepEqual(a.Spec, b.Spec) &&
		slices.EqualFunc(a.Status.GPUs, b.Status.GPUs, func(x, y v1alpha1.GPUStatus) bool {
			return x.UUID == y.UUID && x.Fingerprint == y.Fingerprint
		})
}

// newReshape is a change as the agent is to read it.
func newReshape(node *v1alpha1.GPUNode, m *making) v1alpha1.Reshape {
	a := m.action
	s := v1alpha1.Reshape{
		ID: m.id, GPU: a.Plan.GPU, Lender: a.Lender, JobUID: types.UID(a.JobUID), From: a.From, To: a.To, Base: a.Plan.Base,
		UndoSeconds: int64((a.Undo + time.Second - 1) / time.Second),
	}
	for _, in := range a.Plan.Destroy {
		s.Destroy = append(s.Destroy, placement(node, a.Plan.GPU, in.Placed, in.Generation))
	}
	for _, at := range a.Plan.Create {
		s.Create = append(s.Create, placement(node, a.Plan.GPU, at, 0))
	}
	return s
}

// placement is a place with the name that the GPU's driver has for its profile.
func placement(node *v1alpha1.GPUNode, gpu string, at mig.Placed, generation int64) v1alpha1.MIGPlacement {
	p := v1alpha1.MIGPlacement{Profile: int32(at.Profile), Start: int32(at.Start), Generation: generation}
	board := ""
	for i := range node.Status.GPUs {
		if node.Status.GPUs[i].UUID == gpu {
			board = node.Status.GPUs[i].Board
		}
	}
	for i := range node.Status.Boards {
		if b := &node.Status.Boards[i]; b.Name == board {
			for j := range b.Profiles {
				if b.Profiles[j].Profile == p.Profile {
					p.Name = b.Profiles[j].Name
				}
			}
		}
	}
	return p
}

// missingReshapes are the steps that close changes of which only the ledger knows: an
// intent that did not get into its GPUNode and is not planned again, or a GPUNode or an
// entry in it that somebody removed.
func (r *round) missingReshapes(plan *lend.Plan) []step {
	known := map[string]bool{}
	for _, node := range r.view.GPUNodes {
		for i := range node.Spec.Reshapes {
			known[node.Spec.Reshapes[i].ID] = true
		}
	}
	planned := map[string]bool{}
	for i := range plan.Reshapes {
		planned[plan.Reshapes[i].ID] = plan.Reshapes[i].Kind == lend.ReshapeMake
	}
	var steps []step
	for _, open := range r.Ledger.OpenReshapes() {
		if base, _, _ := strings.Cut(open.ID, again); !known[open.ID] && !planned[open.ID] && !planned[base] {
			steps = append(steps, step{"close reshape", open.ID, func(ctx context.Context) error { return r.closeMissingReshape(ctx, &open) }})
		}
	}
	return steps
}

func (r *round) closeMissingReshape(ctx context.Context, open *ledger.OpenReshape) error {
	var of course.Reshape
	_ = json.Unmarshal(open.Payload, &of) // then no node has that name
	var node v1alpha1.GPUNode
	err := r.Live.Get(ctx, types.NamespacedName{Name: of.Node}, &node)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read GPUNode %s: %w", of.Node, err)
	}
	for i := range node.Spec.Reshapes {
		if node.Spec.Reshapes[i].ID == open.ID {
			return nil // it is there: what was seen is older
		}
	}
	switch {
	case apierrors.IsNotFound(err):
		return r.endReshape(ledger.ReshapeFailed, open.ID, reasonMissing, "GPUNode "+of.Node+" is gone", 0)
	case open.Made:
		return r.endReshape(ledger.ReshapeFailed, open.ID, reasonMissing, "somebody has removed it from GPUNode "+of.Node, 0)
	}
	return r.endReshape(ledger.ReshapeFailed, open.ID, reasonUnbegun, "GPUNode "+of.Node+" does not have it, and it is not wanted any more", 0)
}

// endReshape writes that a change is over, or is made. One that the ledger knows to be over
// already needs no more.
func (r *round) endReshape(kind ledger.Kind, id, reason, message string, milliseconds int64) error {
	open, is := r.Ledger.Reshape(id)
	if !is {
		return nil
	}
	var of course.Reshape
	_ = json.Unmarshal(open.Payload, &of) // it is repeated as far as it can be read
	of.Milliseconds = milliseconds
	_, err := r.record(kind, "", ledger.Entry{OpID: id, Reason: reason, Message: message, Payload: asJSON(of)})
	if err == nil {
		r.log.Info("A reshape has come further", "reshape", id, "entry", kind.String(), "reason", reason, "message", message)
		if r.Reshaped != nil {
			r.Reshaped(kind)
		}
	}
	return err
}

// tellLender writes an event on a lender's policy.
func (r *round) tellLender(lender, reason, action, note string, args ...any) {
	if policy := r.view.Policies[lender]; policy != nil {
		r.Events.write(policyReference(policy), reason, action, note, args...)
	}
}
