package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent/journal"
	"github.com/ebbtide/ebbtide/mig/boards"
	"github.com/ebbtide/ebbtide/mig/device"
)

// restore makes the layouts again that GPUs have lost: pinned instances of all of them
// first, then the others. What cannot be made, because something else is in its place,
// stays absent.
func (a *Agent) restore(ctx context.Context) {
	if a.rival.Status != metav1.ConditionTrue {
		return
	}
	for _, pinned := range []bool{true, false} {
		for _, j := range a.journal.State.GPUs {
			if j.Restoring && answers(a.seen.gpu(j.UUID)) && a.due("restore/"+j.UUID) {
				a.restoreGPU(ctx, j, pinned)
			}
		}
	}
	for _, j := range a.journal.State.GPUs {
		if j.Restoring && answers(a.seen.gpu(j.UUID)) && a.due("restore/"+j.UUID) {
			a.restored(ctx, j)
		}
	}
}

func (a *Agent) restoreGPU(ctx context.Context, j *journal.GPU, pinned bool) {
	for _, known := range slices.Clone(j.Instances) {
		if known.Foreign || known.Layout || a.pinned(j.UUID, known.Placed) != pinned || ctx.Err() != nil {
			continue
		}
		var err error
		switch there := a.seen.instance(j.UUID, known.Placed); {
		case there == nil:
			err = a.create(ctx, j, known.Placed)
		case there.CI < 0:
			err = a.repair(ctx, j, known.Placed)
		}
		if err != nil {
			a.o.Log.Error(err, "An instance of a lost layout could not be made again", "gpu", j.UUID)
		}
		if err != nil && !errors.Is(err, device.ErrNoRoom) && !errors.Is(err, device.ErrInvalid) {
			a.later("restore/"+j.UUID, "create", firstDelay, mostDelay)
			return
		}
	}
}

func (a *Agent) restored(ctx context.Context, j *journal.GPU) {
	if err := a.advertise(ctx, j.UUID, layoutOf(j)); err != nil && !a.advertisedLong(err, "restore/"+j.UUID) {
		a.o.Log.V(2).Info("A layout that was made again is not known yet", "gpu", j.UUID, "reason", err.Error())
		a.later("restore/"+j.UUID, doAdvertise, firstDelay, a.o.Interval)
		return
	}
	delete(a.tries, "restore/"+j.UUID)
	j.Restoring = false
	if a.save() {
		a.o.Log.Info("A lost layout is there again", "gpu", j.UUID, "instances", len(j.Instances))
		a.o.Failpoint(FailFinished)
	}
}

var _ Maker = (*Agent)(nil)

// Make is for dynamic allocation: whoever calls it holds what the place needs, so that
// idle instances of the layout which are in its way are destroyed. Those of a change that
// is in force are not, and pinned ones only for a place that is of the layout itself.
func (a *Agent) Make(ctx context.Context, gpu string, at mig.Placed) (device.Instance, int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	j, err := a.ready(ctx, gpu)
	if err != nil {
		return device.Instance{}, 0, err
	}
	if g := a.seen.gpu(gpu); !g.Healthy {
		return device.Instance{}, 0, fmt.Errorf("GPU %s: %s: %w", gpu, g.Problem, device.ErrLost)
	}
	if err := a.makeRoom(ctx, j, at); err != nil {
		return device.Instance{}, 0, err
	}
	switch known := j.Instance(at); {
	case known != nil && known.Foreign:
		err = fmt.Errorf("%s is not ours", a.describe(gpu, at))
	case a.seen.instance(gpu, at) == nil:
		err = a.create(ctx, j, at)
	case !a.ownWhole(j, at):
		err = a.repair(ctx, j, at)
	}
	if err != nil {
		return device.Instance{}, 0, err
	}
	return *a.seen.instance(gpu, at), j.Instance(at).Generation, nil
}

// Unmake is for dynamic allocation. An instance that is in use stays, and the error
// says so: it is to be called again. Nothing is left to do for one that is gone, or whose
// GPU is, or that somebody else has made anew: that one is reported as Foreign, and no
// more the claim's.
func (a *Agent) Unmake(ctx context.Context, gpu string, at mig.Placed) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.mayAct(ctx); err != nil {
		return err
	}
	j := a.journal.State.GPU(gpu)
	switch g := a.seen.gpu(gpu); {
	case g == nil, j == nil, g.Healthy && !g.MIG:
		a.o.Log.Info("A claim's instance is gone with its GPU, or its MIG mode", "gpu", gpu)
		return nil
	case !answers(g):
		return fmt.Errorf("GPU %s: %s: %w", gpu, g.Problem, device.ErrLost)
	}
	known := j.Instance(at)
	if known == nil || known.Foreign || a.seen.instance(gpu, at) == nil {
		return nil
	}
	if j.Restoring {
		return errRestoring(gpu)
	}
	if i := a.seen.instance(gpu, at); i.CI >= 0 && (i.Processes == nil || len(i.Processes) > 0) {
		return fmt.Errorf("%s has processes, or they are not known: %w", a.describe(gpu, at), device.ErrInUse)
	}
	return a.destroy(ctx, j, at)
}

// mayAct reads everything again, and says why the node's GPUs may not be changed now.
func (a *Agent) mayAct(ctx context.Context) error {
	if a.corrupt != nil {
		return a.corrupt
	}
	if err := a.readAgain(ctx); err != nil {
		return err
	}
	a.askRival(ctx)
	if a.rival.Status != metav1.ConditionTrue {
		return errors.New(a.rival.Message)
	}
	if !a.save() {
		return a.unwritten
	}
	return nil
}

func errRestoring(gpu string) error {
	return fmt.Errorf("GPU %s has lost its layout, which is being made again", gpu)
}

// ready returns what is known of a GPU that answers.
func (a *Agent) ready(ctx context.Context, gpu string) (*journal.GPU, error) {
	if err := a.mayAct(ctx); err != nil {
		return nil, err
	}
	j := a.journal.State.GPU(gpu)
	switch g := a.seen.gpu(gpu); {
	case j == nil || g == nil:
		return nil, fmt.Errorf("GPU %s: %w", gpu, device.ErrNotFound)
	case !g.Healthy && !answers(g):
		return nil, fmt.Errorf("GPU %s: %s: %w", gpu, g.Problem, device.ErrLost)
	case !g.MIG:
		return nil, fmt.Errorf("GPU %s is not in MIG mode: %w", gpu, device.ErrNotSupported)
	case j.Restoring:
		return nil, errRestoring(gpu)
	}
	return j, nil
}

// makeRoom destroys idle instances of ours that overlap a place.
func (a *Agent) makeRoom(ctx context.Context, j *journal.GPU, at mig.Placed) error {
	geometry := a.geometry[j.UUID]
	if geometry == nil {
		return errors.New("the driver does not say what the GPU can be cut into")
	}
	if err := geometry.Check([]mig.Placed{at}); err != nil {
		return err
	}
	if err := a.reshaped(j, geometry, at); err != nil {
		return err
	}
	own := j.Instance(at)
	for _, known := range slices.Clone(j.Instances) {
		if known.Placed == at || a.seen.instance(j.UUID, known.Placed) == nil || !overlap(geometry, known.Placed, at) {
			continue
		}
		if known.Foreign {
			return fmt.Errorf("%s is in the way, and not ours", a.describe(j.UUID, known.Placed))
		}
		if a.pinned(j.UUID, known.Placed) && (own == nil || !own.Layout) {
			return fmt.Errorf("%s is in the way, and pinned", a.describe(j.UUID, known.Placed))
		}
		if err := a.destroy(ctx, j, known.Placed); err != nil {
			return err
		}
	}
	return nil
}

// reshaped says which change a place is in the way of: what a change has made, or is
// making, stays until it is undone, whether a claim has it at the moment or not.
func (a *Agent) reshaped(j *journal.GPU, geometry *mig.Geometry, at mig.Placed) error {
	for _, r := range a.journal.State.Reshapes {
		if r.Spec.GPU != j.UUID || r.Done() {
			continue
		}
		for _, p := range r.Spec.Create {
			if other := boards.Placed(p); other != at && overlap(geometry, other, at) {
				return fmt.Errorf("%s is in the way until %s is undone", a.describe(j.UUID, other), r.Spec.ID)
			}
		}
	}
	return nil
}

func overlap(g *mig.Geometry, a, b mig.Placed) bool {
	p, ok := g.Profile(a.Profile)
	q, also := g.Profile(b.Profile)
	return !ok || !also || a.Start < b.Start+q.Memory && b.Start < a.Start+p.Memory
}
