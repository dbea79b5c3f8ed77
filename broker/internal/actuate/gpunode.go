package actuate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gpunodes"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// GPUs hears of every write of a GPUNode and its outcome.
type GPUs interface {
	Wrote(node *v1alpha1.GPUNode, err error)
}

// gpuNodes are the steps that look after GPUNodes, one for each: what agents have done is
// written down, changes that are over are taken off the list, those that are to be undone
// are marked, and what is pinned is kept up to date.
func (r *round) gpuNodes(plan *lend.Plan) []step {
	undo := map[string]*lend.ReshapeAction{}
	for i := range plan.Reshapes {
		if plan.Reshapes[i].Kind == lend.ReshapeUndo {
			undo[plan.Reshapes[i].ID] = &plan.Reshapes[i]
		}
	}
	var steps []step
	for _, name := range slices.Sorted(maps.Keys(r.view.GPUNodes)) {
		node := r.view.GPUNodes[name]
		_, repin := r.view.Pins[name]
		if repin || len(node.Spec.Reshapes) > 0 {
			steps = append(steps, step{"look after the GPUs of", name, func(ctx context.Context) error {
				return r.lookAfter(ctx, name, undo)
			}})
		}
	}
	return steps
}

func (r *round) lookAfter(ctx context.Context, name string, undo map[string]*lend.ReshapeAction) error {
	now := r.gpuNode(name)
	next := now.DeepCopy()
	if pinned, is := r.view.Pins[name]; is {
		next.Spec.Pinned = pinned
	}
	undone, unnoted := r.goThrough(now, next, undo)
	if errors.Is(unnoted, ErrStop) {
		return unnoted
	}
	if apiequality.Semantic.DeepEqual(now.Spec, next.Spec) {
		return unnoted
	}
	if err := r.writeGPUNode(ctx, next); err != nil {
		return errors.Join(unnoted, err)
	}
	if !r.wroteGPUNode(next) && len(undone) > 0 {
		return errors.Join(unnoted, r.undoAnyway(ctx, name, undo))
	}
	for _, action := range undone {
		r.log.Info("Undoing a reshape", "reshape", action.ID, "node", name, "reason", action.Reason)
	}
	return unnoted
}

// goThrough writes down what has become of the node's changes, and takes off next's list
// those of which the ledger has the end. What the ledger does not take, of which err tells,
// keeps nothing from being undone: somebody may wait for it. undone are the actions that
// are new.
func (r *round) goThrough(now, next *v1alpha1.GPUNode, undo map[string]*lend.ReshapeAction) (undone []*lend.ReshapeAction, err error) {
	var kept []v1alpha1.Reshape
	var errs []error
	for _, s := range next.Spec.Reshapes {
		said := gpunodes.Status(now, s.ID)
		over, err := r.noteReshape(now.Name, &s, said)
		errs = append(errs, err)
		if gpunodes.Closed(said) && err == nil {
			continue // the ledger has it
		}
		if action := undo[s.ID]; action != nil && !s.Undo {
			undone = append(undone, action)
		}
		s.Undo = s.Undo || over || undo[s.ID] != nil
		kept = append(kept, s)
	}
	next.Spec.Reshapes = kept
	return undone, errors.Join(errs...)
}

// undoAnyway marks what is to be undone although somebody else has written the GPUNode
// meanwhile: that is never wrong, and somebody may wait for it.
func (r *round) undoAnyway(ctx context.Context, name string, undo map[string]*lend.ReshapeAction) error {
	var next v1alpha1.GPUNode
	if err := r.Live.Get(ctx, client.ObjectKey{Name: name}, &next); err != nil {
		return client.IgnoreNotFound(err)
	}
	for i := range next.Spec.Reshapes {
		next.Spec.Reshapes[i].Undo = next.Spec.Reshapes[i].Undo || undo[next.Spec.Reshapes[i].ID] != nil
	}
	return r.writeGPUNode(ctx, &next)
}

// noteReshape brings the ledger to where a change is. One that the ledger does not know
// was begun by a broker whose ledger is lost; over reports one that the ledger knows to be
// over.
func (r *round) noteReshape(node string, s *v1alpha1.Reshape, said *v1alpha1.ReshapeStatus) (over bool, err error) {
	known, open := r.Ledger.Reshape(s.ID)
	if !open {
		e := ledger.Entry{
			OpID: s.ID, JobUID: string(s.JobUID), Reason: reasonRecovered, Message: "the GPUNode has it, and the ledger did not know it",
			Payload: asJSON(course.Reshape{
				Node: node, GPU: s.GPU, Lender: s.Lender, From: s.From, Count: int64(len(s.Destroy)), To: s.To, Made: int64(len(s.Create)),
			}),
		}
		if _, err := r.record(ledger.ReshapeIntent, "", e); err != nil && !errors.Is(err, ledger.ErrOpReused) {
			return false, err
		}
		if known, open = r.Ledger.Reshape(s.ID); !open {
			return true, nil
		}
	}
	if said == nil {
		return false, nil
	}
	from, to := fmt.Sprintf("%d of %s", len(s.Destroy), s.From), fmt.Sprintf("%d of %s", len(s.Create), s.To)
	switch {
	case said.State == v1alpha1.ReshapeMade && !known.Made:
		err = r.endReshape(ledger.ReshapeDone, s.ID, reasonMade, "what was to be made is there", said.MakeMilliseconds)
		r.tellEnd(err, s.Lender, reasonMade, "%s on node %s were made into %s", from, node, to)
	case said.State == v1alpha1.ReshapeUndone:
		err = r.endReshape(ledger.ReshapeUndone, s.ID, reasonUndone, "what was there before is there again", said.UndoMilliseconds)
		r.tellEnd(err, s.Lender, reasonUndone, "%s on node %s were made again", from, node)
	case said.State == v1alpha1.ReshapeRefused:
		err = r.endReshape(ledger.ReshapeFailed, s.ID, reasonRefused, said.Message, 0)
		r.tellEnd(err, s.Lender, reasonRefused, "the agent of node %s did not make %s into %s: %s", node, from, to, said.Message)
	}
	return false, err
}

// tellEnd tells a lender's owner what the ledger has written down without an error.
func (r *round) tellEnd(err error, lender, reason, note string, args ...any) {
	if err == nil {
		r.tellLender(lender, reason, "Reshape", note, args...)
	}
}

// subjectReshape is a change of a GPU's layout that goes neither on nor back.
const subjectReshape lend.SubjectKind = "Reshape"

// wedged tells the lenders' owners, and whoever looks after nodes, which changes hang.
func (r *round) wedged() []lend.Verdict {
	var said []lend.Verdict
	for i := range r.view.Snapshot.Nodes {
		node := &r.view.Snapshot.Nodes[i]
		for j := range node.Reshapes {
			s := &node.Reshapes[j]
			v := lend.Verdict{Kind: subjectReshape, Subject: s.ID}
			if s.Stuck != "" {
				v.Reason = reasonWedged
				v.Message = fmt.Sprintf("node %s: GPU %s went neither from %s to %s nor back: %s", node.Name, s.GPU, s.From, s.To, s.Stuck)
			}
			if r.Events.news(&v) && v.Reason != "" {
				r.tellLender(s.Lender, v.Reason, "Reshape", "got stuck: %s", v.Message)
				r.Events.write(reference("GPUNode", v1alpha1.GroupVersion.String(), "", node.Name, string(r.view.GPUNodes[node.Name].UID)), v.Reason, "Reshape", "got stuck: %s", v.Message)
			}
			said = append(said, v)
		}
	}
	return said
}

// gpuNode is the newest GPUNode of that name that this round knows.
func (r *round) gpuNode(name string) *v1alpha1.GPUNode {
	r.mu.Lock()
	defer r.mu.Unlock()
	if written := r.written[name]; written != nil {
		return written
	}
	return r.view.GPUNodes[name]
}

// writeGPUNode updates a GPUNode, on condition that nobody has since it was read. That
// somebody has, or that it is gone, is no error.
func (r *round) writeGPUNode(ctx context.Context, next *v1alpha1.GPUNode) error {
	err := r.Client.Update(ctx, next)
	r.GPUs.Wrote(next, err)
	switch {
	case err == nil:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.written[next.Name] = next
		return nil
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		r.log.V(1).Info("Somebody else has written a GPUNode; the next decision sees it", "node", next.Name)
		return nil
	}
	return fmt.Errorf("write GPUNode %s: %w", next.Name, err)
}

// wroteGPUNode tells whether the write got through.
func (r *round) wroteGPUNode(next *v1alpha1.GPUNode) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.written[next.Name] == next
}
