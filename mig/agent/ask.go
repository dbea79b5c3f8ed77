package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent/journal"
	"github.com/ebbtide/ebbtide/mig/boards"
	"github.com/ebbtide/ebbtide/mig/device"
)

// warmFor is for how long an instance whose destruction was refused is not tried again.
const warmFor = 10 * time.Minute

// errLater: it is not to be decided now.
var errLater = errors.New("not to be decided now")

// ask takes over what the broker and the scheduler ask for: new changes, undoing them,
// and which of those that came to their end are no longer of interest. A change that is
// no longer asked for at all is undone.
func (a *Agent) ask() {
	if a.node == nil {
		return
	}
	wanted := map[string]bool{}
	for _, want := range a.node.Spec.Reshapes {
		wanted[want.ID] = true
		r := a.journal.State.Reshape(want.ID)
		switch {
		case r == nil:
			a.accept(want)
		case want.Undo:
			a.undo(r, "")
		}
	}
	for _, r := range slices.Clone(a.journal.State.Reshapes) {
		switch {
		case wanted[r.Spec.ID]:
		case r.Done():
			a.forget(r)
		default:
			a.undo(r, "it is no longer asked for")
		}
	}
}

func (a *Agent) forget(r *journal.Reshape) {
	a.journal.State.Reshapes = slices.DeleteFunc(a.journal.State.Reshapes, func(other *journal.Reshape) bool { return other == r })
	delete(a.tries, r.Spec.ID)
}

// accept writes a new change into the journal, as one to make or as refused.
func (a *Agent) accept(want v1alpha1.Reshape) {
	now := a.o.Clock.Now()
	r := &journal.Reshape{Spec: *want.DeepCopy(), Since: now, Began: now}
	err := a.refusal(want)
	switch {
	case want.Undo && !a.begunElsewhere(want.ID):
		r.State, r.Message = v1alpha1.ReshapeUndone, "it was taken back before it was begun"
	case a.begunElsewhere(want.ID):
		a.takeOver(r)
	case errors.Is(err, errLater):
		a.o.Log.V(2).Info("A change waits", "reshape", want.ID, "reason", err.Error())
		return
	case err != nil:
		r.State, r.Message = v1alpha1.ReshapeRefused, err.Error()
	default:
		r.State = v1alpha1.ReshapeMaking
	}
	a.journal.State.Reshapes = append(a.journal.State.Reshapes, r)
	a.o.Log.Info("Reshape", "reshape", want.ID, "gpu", want.GPU, "state", r.State, "message", r.Message)
	if !a.save() {
		return
	}
	a.metrics.ended(r)
	a.o.Failpoint(FailAccepted)
}

// begunElsewhere reports whether the API says that a change was begun which the journal
// does not know: by an agent with a journal that is lost.
func (a *Agent) begunElsewhere(id string) bool {
	return slices.ContainsFunc(a.node.Status.Reshapes, func(s v1alpha1.ReshapeStatus) bool {
		return s.ID == id && !v1alpha1.ReshapeOver(s.State)
	})
}

// takeOver goes on with a change of a lost journal, if the layout says that it was made.
func (a *Agent) takeOver(r *journal.Reshape) {
	j := a.journal.State.GPU(r.Spec.GPU)
	made := j != nil
	for _, p := range r.Spec.Create {
		made = made && a.ownWhole(j, boards.Placed(p))
	}
	for _, p := range r.Spec.Destroy {
		made = made && j.Instance(boards.Placed(p)) == nil
	}
	r.Recovered = 1
	if made {
		r.State = v1alpha1.ReshapeMade
		return
	}
	r.State, r.Back, r.Outcome, r.Touched = v1alpha1.ReshapeStuck, true, v1alpha1.ReshapeUndone, true
	r.Began = time.Time{}
	r.Message = "the journal that it was begun with is lost"
}

func (a *Agent) ownWhole(j *journal.GPU, at mig.Placed) bool {
	known, there := j.Instance(at), a.seen.instance(j.UUID, at)
	return known != nil && !known.Foreign && there != nil && there.Whole
}

// undo turns a change back that is being made or was made.
func (a *Agent) undo(r *journal.Reshape, why string) {
	r.Spec.Undo = true
	if r.Done() || r.Back {
		return
	}
	a.turnBack(r, v1alpha1.ReshapeUndone, why)
	if a.save() {
		a.o.Failpoint(FailUndoAccepted)
	}
}

// turnBack sends a change on its way back. Refused is what becomes of one that was
// never made: its state stays Making until all is as it was.
func (a *Agent) turnBack(r *journal.Reshape, outcome, why string) {
	r.Back, r.Outcome, r.Message = true, outcome, why
	if outcome == v1alpha1.ReshapeUndone {
		a.enter(r, v1alpha1.ReshapeUndoing)
	}
	delete(a.tries, r.Spec.ID)
	a.o.Log.Info("A change is taken back", "reshape", r.Spec.ID, "outcome", outcome, "why", why)
}

func (a *Agent) enter(r *journal.Reshape, state string) {
	if r.State != state {
		r.State, r.Since = state, a.o.Clock.Now()
	}
}

// refusal says why a change is not even begun, or errLater if that cannot be said now.
func (a *Agent) refusal(want v1alpha1.Reshape) error {
	switch {
	case a.rival.Status != metav1.ConditionTrue && a.rival.Reason == ReasonRival:
		return errors.New(a.rival.Message)
	case a.rival.Status != metav1.ConditionTrue:
		return fmt.Errorf("%w: %s", errLater, a.rival.Message)
	case a.seen.unknown != nil:
		return fmt.Errorf("%w: who holds the slices is not known: %w", errLater, a.seen.unknown)
	}
	g, j := a.seen.gpu(want.GPU), a.journal.State.GPU(want.GPU)
	if g == nil || j == nil {
		return fmt.Errorf("the node has no GPU %s", want.GPU)
	}
	if err := a.mayChange(g, j); err != nil {
		return err
	}
	if have := a.fingerprint(j); have != want.Base {
		return fmt.Errorf("the layout is another: it is %s, and the change is for %s", have, want.Base)
	}
	for _, p := range want.Destroy {
		if err := a.mayGo(g, j, p); err != nil {
			return err
		}
	}
	return a.legal(g.Geometry, j, want)
}

// mayChange says why a GPU's layout may not be changed now.
func (a *Agent) mayChange(g *device.GPU, j *journal.GPU) error {
	switch {
	case !g.Healthy:
		return fmt.Errorf("the GPU is not healthy: %s", g.Problem)
	case !g.MIG:
		return errors.New("the GPU is not in MIG mode")
	case j.Restoring:
		return errors.New("the GPU has lost its layout, which is being made again")
	}
	for _, other := range a.journal.State.Reshapes {
		if other.Spec.GPU == g.UUID && !other.Done() {
			return fmt.Errorf("%s is in force on the GPU", other.Spec.ID)
		}
	}
	return nil
}

// fingerprint is that of what is there, or of the layout.
func (a *Agent) fingerprint(j *journal.GPU) string {
	var there []mig.Instance
	for _, known := range j.Instances {
		if a.counts(j, known) {
			there = append(there, mig.Instance{Placed: known.Placed, Generation: known.Generation})
		}
	}
	return mig.Fingerprint(there)
}

// counts reports whether an instance is there, or will be as soon as a claim gets it.
func (a *Agent) counts(j *journal.GPU, known journal.Instance) bool {
	return known.Layout || a.seen.instance(j.UUID, known.Placed) != nil
}

// mayGo says why an instance may not be destroyed for a change.
func (a *Agent) mayGo(g *device.GPU, j *journal.GPU, p v1alpha1.MIGPlacement) error {
	at := boards.Placed(p)
	name := a.describe(g.UUID, at)
	known := j.Instance(at)
	switch {
	case known == nil || !a.counts(j, *known):
		return fmt.Errorf("there is no %s", name)
	case known.Foreign:
		return fmt.Errorf("%s is not ours", name)
	case p.Generation != 0 && p.Generation != known.Generation:
		return fmt.Errorf("%s is of generation %d, and the change is for %d", name, known.Generation, p.Generation)
	case a.pinned(g.UUID, at):
		return fmt.Errorf("%s is pinned", name)
	}
	if since, ok := a.warm[instanceKey{g.UUID, at}]; ok && a.o.Clock.Since(since) < warmFor {
		return fmt.Errorf("%s was in use at %s although nobody held it; it is left alone for %s", name, since.UTC().Format(time.RFC3339), warmFor)
	}
	return a.inUse(g.UUID, at)
}

func (a *Agent) pinned(gpu string, at mig.Placed) bool {
	if a.node == nil {
		return false
	}
	for _, p := range a.node.Spec.Pinned {
		if p.GPU == gpu && slices.ContainsFunc(p.Places, func(p v1alpha1.MIGPlacement) bool { return boards.Placed(p) == at }) {
			return true
		}
	}
	return false
}

// legal checks that every layout on the way is one that the board allows, and that what
// goes and what comes are different places.
func (a *Agent) legal(geometry *mig.Geometry, j *journal.GPU, want v1alpha1.Reshape) error {
	if geometry == nil {
		return errors.New("the driver does not say what the GPU can be cut into")
	}
	var layout []mig.Placed
	for _, known := range j.Instances {
		gone := slices.ContainsFunc(want.Destroy, func(p v1alpha1.MIGPlacement) bool { return boards.Placed(p) == known.Placed })
		if !gone && a.counts(j, known) {
			layout = append(layout, known.Placed)
		}
	}
	for _, p := range want.Create {
		if slices.ContainsFunc(want.Destroy, func(d v1alpha1.MIGPlacement) bool { return boards.Placed(d) == boards.Placed(p) }) {
			return fmt.Errorf("%s would be destroyed and created", a.describe(j.UUID, boards.Placed(p)))
		}
		layout = append(layout, boards.Placed(p))
	}
	if err := geometry.Check(layout); err != nil {
		return fmt.Errorf("the board does not allow it: %w", err)
	}
	return nil
}

// describe names an instance for people.
func (a *Agent) describe(gpu string, at mig.Placed) string {
	return fmt.Sprintf("%s at slot %d", a.profileName(gpu, at, fmt.Sprintf("profile %d", at.Profile)), at.Start)
}
