package agent

import (
	"context"
	"errors"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent/journal"
	"github.com/ebbtide/ebbtide/mig/boards"
	"github.com/ebbtide/ebbtide/mig/device"
)

// How long a step that does not go is tried again.
const (
	firstDelay = 200 * time.Millisecond
	mostDelay  = 5 * time.Second
	giveUpTime = 30 * time.Second
	stuckDelay = 30 * time.Second
	undoDelay  = 500 * time.Millisecond
)

// carryOut does what is due of the changes, one step at a time, most urgent first, and
// looks between steps whether something else was asked for.
func (a *Agent) carryOut(ctx context.Context) {
	for ctx.Err() == nil && a.unwritten == nil {
		r, s := a.pick()
		if r == nil {
			return
		}
		a.settle(ctx, r, s, a.act(ctx, r, s))
		a.look(ctx)
	}
}

// look asks for the GPUNode again, if it has changed.
func (a *Agent) look(ctx context.Context) {
	if node, err := a.o.Nodes.Get(ctx); err == nil && node != a.node {
		a.node = node
		a.ask()
	}
}

// What can be the next step of a change.
const (
	doDestroy   = "destroy"
	doCreate    = "create"
	doRepair    = "repair"
	doAdvertise = "advertise"
	doFinish    = "finish"
)

type action struct {
	do string
	at mig.Placed
}

// pick returns the most urgent change of those that can go on now: somebody waits for
// what is undone, and a layout that is not known helps nobody.
func (a *Agent) pick() (*journal.Reshape, action) {
	var best *journal.Reshape
	var step action
	rank := 0
	for _, r := range a.journal.State.Reshapes {
		if r.Done() || r.State == v1alpha1.ReshapeMade || !a.due(r.Spec.ID) {
			continue
		}
		s := a.next(r)
		now := 1
		if r.Outcome == v1alpha1.ReshapeUndone {
			now = 3
		}
		if s.do != doAdvertise && s.do != doFinish {
			now++ // one advertisement for several layouts
		}
		if now > rank {
			best, step, rank = r, s, now
		}
	}
	return best, step
}

// next is the next step of a change, by what is there.
func (a *Agent) next(r *journal.Reshape) action {
	gone, there := r.Spec.Destroy, r.Spec.Create
	if r.Back {
		gone, there = there, gone
	}
	j := a.journal.State.GPU(r.Spec.GPU)
	for _, p := range gone {
		if j != nil && j.Instance(boards.Placed(p)) != nil {
			return action{doDestroy, boards.Placed(p)}
		}
	}
	for _, p := range there {
		at := boards.Placed(p)
		switch known := instanceOf(j, at); {
		case r.Back && a.thereForeign(j, at):
			// As it was, by somebody else's hand: it stays theirs until it is adopted.
		case known == nil, known.Foreign, a.seen.instance(r.Spec.GPU, at) == nil:
			return action{doCreate, at}
		case !a.ownWhole(j, at):
			return action{doRepair, at}
		}
	}
	if r.Touched {
		return action{doAdvertise, mig.Placed{}}
	}
	return action{doFinish, mig.Placed{}}
}

// thereForeign reports whether somebody else has made what is to come at a place.
func (a *Agent) thereForeign(j *journal.GPU, at mig.Placed) bool {
	known := instanceOf(j, at)
	if known == nil || !known.Foreign {
		return false
	}
	there := a.seen.instance(j.UUID, at)
	return there != nil && there.Whole
}

func instanceOf(j *journal.GPU, at mig.Placed) *journal.Instance {
	if j == nil {
		return nil
	}
	return j.Instance(at)
}

// act does one step of a change.
func (a *Agent) act(ctx context.Context, r *journal.Reshape, s action) error {
	if s.do == doFinish {
		a.finish(r)
		return nil
	}
	if err := a.mayGoOn(r); err != nil {
		return err
	}
	j := a.journal.State.GPU(r.Spec.GPU)
	if s.do == doAdvertise {
		if err := a.promisedMeanwhile(ctx, r); err != nil {
			return err
		}
		return a.showAndFinish(ctx, r)
	}
	if j.Restoring {
		return waits("the GPU's lost layout is made again first")
	}
	known := j.Instance(s.at)
	if known != nil && known.Foreign {
		return final("%s is not ours", a.describe(j.UUID, s.at))
	}
	if s.do == doDestroy {
		if err := a.mayDestroy(r, s.at); err != nil {
			return err // before anything is begun
		}
	}
	if !r.Touched {
		r.Touched, r.Began = true, a.o.Clock.Now() // written with the step
	}
	switch s.do {
	case doDestroy:
		return a.destroy(ctx, j, s.at)
	case doCreate:
		return a.create(ctx, j, s.at)
	}
	return a.repair(ctx, j, s.at)
}

// mayGoOn says why nothing can be done for a change now.
func (a *Agent) mayGoOn(r *journal.Reshape) error {
	g := a.seen.gpu(r.Spec.GPU)
	switch {
	case a.rival.Status != metav1.ConditionTrue:
		return waits("%s", a.rival.Message)
	case a.journal.State.GPU(r.Spec.GPU) == nil || !answers(g):
		return waits("the GPU does not answer, or is not in MIG mode")
	case !r.Back && !g.Healthy:
		return final("the GPU is not healthy: %s", g.Problem)
	}
	return nil
}

// promisedMeanwhile says which pod was promised what a change has taken, by a scheduler
// that did not know of it: the pod would wait for as long as the change lasts. The places
// have not been offered since before the change began, so that this is the last look.
func (a *Agent) promisedMeanwhile(ctx context.Context, r *journal.Reshape) error {
	if r.Back || a.o.Allocation != v1alpha1.AllocationDynamicResources {
		return nil
	}
	a.readHolders(ctx)
	for _, p := range r.Spec.Destroy {
		if err := a.inUse(r.Spec.GPU, boards.Placed(p)); err != nil {
			return err
		}
	}
	return nil
}

// showAndFinish makes a change known and ends it, when it is seen or is waited for no
// longer.
func (a *Agent) showAndFinish(ctx context.Context, r *journal.Reshape) error {
	err := a.advertise(ctx, r.Spec.GPU, placesOf(r))
	if err != nil && !a.advertisedLong(err, r.Spec.ID) {
		return err
	}
	a.finish(r)
	if err != nil {
		r.Message = strings.TrimPrefix(r.Message+"; it is done, and not seen by the kubelet: "+err.Error(), "; ")
	}
	return nil
}

// mayDestroy looks again at what was looked at when the change was accepted, which may
// be minutes ago.
func (a *Agent) mayDestroy(r *journal.Reshape, at mig.Placed) error {
	if !r.Back && a.pinned(r.Spec.GPU, at) {
		return final("%s is pinned meanwhile", a.describe(r.Spec.GPU, at))
	}
	return a.inUse(r.Spec.GPU, at)
}

// settle decides how a change goes on after a step.
func (a *Agent) settle(ctx context.Context, r *journal.Reshape, s action, err error) {
	key, what := r.Spec.ID, s.do+journal.Place(s.at)
	var wait *blocked
	switch {
	case err == nil:
		if !r.Back && s.do != doAdvertise {
			r.Message = ""
		}
		delete(a.tries, key)
	case errors.As(err, &wait) && wait.held && !r.Back:
		a.giveUp(r, s, err) // it was free when it was planned: the plan is over
	case errors.As(err, &wait):
		a.wait(r, what, wait)
	case passing(err) && a.o.Clock.Now().Before(a.later(key, what, firstDelay, mostDelay).Add(giveUpTime)):
		a.o.Log.Info("A step did not go, and is tried again", "reshape", key, "step", s.do, "error", err.Error())
	default:
		a.giveUp(r, s, err)
	}
	a.save()
	if err == nil && (r.Done() || r.State == v1alpha1.ReshapeMade) {
		if err := a.publish(ctx); err != nil {
			a.o.Log.Error(err, "What came of a change is not published yet", "reshape", key)
		}
	}
}

// wait puts a change off that cannot go on now, and says why.
func (a *Agent) wait(r *journal.Reshape, what string, wait *blocked) {
	if r.Outcome != v1alpha1.ReshapeRefused {
		r.Message = wait.why
	}
	if wait.unseen {
		what = doAdvertise
	}
	a.later(r.Spec.ID, what, firstDelay, patience(r))
}

// patience is how long it takes at most to see that what a change waits for has come:
// somebody waits for what is undone.
func patience(r *journal.Reshape) time.Duration {
	if r.Back {
		return undoDelay
	}
	return mostDelay
}

// passing reports whether the same step may go later.
func passing(err error) bool {
	var never *finalError
	return !errors.As(err, &never) && !refused(err)
}

// giveUp turns a change back that cannot be made. One that cannot be taken back is
// stuck, and tried again now and then.
func (a *Agent) giveUp(r *journal.Reshape, s action, err error) {
	message := err.Error()
	if errors.Is(err, device.ErrInUse) {
		a.warm[instanceKey{r.Spec.GPU, s.at}] = a.o.Clock.Now()
		message += " although nobody holds it; a monitoring program may have leaked a handle (restarting DCGM frees it)"
	}
	if !r.Back {
		a.turnBack(r, v1alpha1.ReshapeRefused, message)
		return
	}
	if r.State != v1alpha1.ReshapeStuck {
		a.metrics.stuck.Inc()
		a.o.Log.Error(err, "A change can go neither on nor back", "reshape", r.Spec.ID)
	}
	a.enter(r, v1alpha1.ReshapeStuck)
	r.Message, r.Began = message, time.Time{} // how long that lasts says nothing of changes
	a.later(r.Spec.ID, "stuck", stuckDelay, stuckDelay)
}

// finish brings a change to its end on the way that it is on.
func (a *Agent) finish(r *journal.Reshape) {
	now := a.o.Clock.Now()
	took := max(now.Sub(r.Began).Milliseconds(), 1)
	if !r.Touched || r.Began.IsZero() {
		took = 0
	}
	state := v1alpha1.ReshapeMade
	switch {
	case !r.Back:
		r.MakeMilliseconds, r.Message = took, ""
	case r.Outcome == v1alpha1.ReshapeUndone:
		r.UndoMilliseconds, state = took, v1alpha1.ReshapeUndone
		r.Message = ""
	default:
		state = v1alpha1.ReshapeRefused
	}
	r.Touched = false
	a.enter(r, state)
	delete(a.tries, r.Spec.ID)
	a.o.Log.Info("Reshape", "reshape", r.Spec.ID, "gpu", r.Spec.GPU, "state", r.State, "milliseconds", took, "message", r.Message)
	a.metrics.ended(r)
	if a.save() {
		a.o.Failpoint(FailFinished)
	}
}
