package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent/journal"
	"github.com/ebbtide/ebbtide/mig/device"
)

// The points at which Options.Failpoint is called. Begun is after a step was written
// down and before the driver is called, done after the driver has answered, written
// after what came of it was written down.
const (
	FailAccepted       = "accepted"
	FailUndoAccepted   = "undo-accepted"
	FailWithdrawn      = "withdrawn"
	FailProvenEmpty    = "proven-empty"
	FailDestroyBegun   = "destroy-begun"
	FailDestroyDone    = "destroy-done"
	FailDestroyWritten = "destroy-written"
	FailCreateBegun    = "create-begun"
	FailCreateDone     = "create-done"
	FailCreateWritten  = "create-written"
	FailRepairBegun    = "repair-begun"
	FailRepairDone     = "repair-done"
	FailRepairWritten  = "repair-written"
	FailAdvertised     = "advertised"
	FailFinished       = "finished"
)

// Failpoints lists all points, in the order of a change that is made and undone.
func Failpoints() []string {
	return []string{
		FailAccepted, FailWithdrawn, FailProvenEmpty, FailDestroyBegun, FailDestroyDone, FailDestroyWritten,
		FailCreateBegun, FailCreateDone, FailCreateWritten, FailRepairBegun, FailRepairDone, FailRepairWritten,
		FailAdvertised, FailFinished, FailUndoAccepted,
	}
}

// blocked: it cannot go on now, and may later.
type blocked struct {
	why string
	// held: because somebody is known to hold it.
	held bool
	// unseen: it is done, and the kubelet does not know of it yet.
	unseen bool
}

func (b *blocked) Error() string { return b.why }

func waits(format string, args ...any) error { return &blocked{why: fmt.Sprintf(format, args...)} }

// finalError: it will never go.
type finalError struct{ why string }

func (f *finalError) Error() string { return f.why }

func final(format string, args ...any) error { return &finalError{fmt.Sprintf(format, args...)} }

// inUse says who holds an instance or is on it. Unknown is in use.
func (a *Agent) inUse(gpu string, at mig.Placed) error {
	i := a.seen.instance(gpu, at)
	dynamic := a.o.Allocation == v1alpha1.AllocationDynamicResources
	if i == nil && !dynamic {
		return nil
	}
	name := a.describe(gpu, at)
	if a.seen.unknown != nil {
		return waits("who holds %s is not known: %v", name, a.seen.unknown)
	}
	h, ok := a.seen.holders[promised(gpu, a.profileName(gpu, at, ""), at.Start)]
	if !ok && i != nil {
		h, ok = a.holder(gpu, *i)
	}
	switch {
	case ok:
		return &blocked{why: fmt.Sprintf("pod %s/%s holds %s", h.Namespace, h.Name, name), held: true}
	case i == nil: // one of the layout, which no claim has now
		return nil
	case i.Processes == nil && i.CI >= 0:
		return waits("the processes on %s are not known", name)
	case len(i.Processes) > 0:
		return &blocked{why: fmt.Sprintf("process %d is on %s", i.Processes[0].PID, name), held: true}
	}
	return nil
}

// holder is the pod that an instance was handed to, maybe when it had a compute instance
// that is gone.
func (a *Agent) holder(gpu string, i device.Instance) (v1alpha1.GPUHolder, bool) {
	uuids := []string{i.UUID}
	if known := instanceOf(a.journal.State.GPU(gpu), i.Placed); known != nil && known.GI == i.GI {
		uuids = append(uuids, known.UUID)
	}
	for _, uuid := range uuids {
		if h, ok := a.seen.holders[uuid]; ok && uuid != "" {
			return h, true
		}
	}
	return v1alpha1.GPUHolder{}, false
}

// destroy withdraws an instance of ours, proves it empty, and destroys it. nil means
// that it was seen to be gone.
func (a *Agent) destroy(ctx context.Context, j *journal.GPU, at mig.Placed) error {
	i := a.seen.instance(j.UUID, at)
	if i == nil {
		if err := a.inUse(j.UUID, at); err != nil {
			return err
		}
		j.Drop(at)
		a.save()
		return nil
	}
	if err := a.inUse(j.UUID, at); err != nil {
		return err
	}
	if i.UUID != "" {
		if err := a.o.Advertiser.Withdraw(ctx, []string{i.UUID}); err != nil {
			return fmt.Errorf("withdraw %s: %w", a.describe(j.UUID, at), err)
		}
	}
	a.o.Failpoint(FailWithdrawn)
	// What was handed out before it was withdrawn is seen now.
	if err := a.readAgain(ctx); err != nil {
		return err
	}
	if err := a.stillOurs(j, at, i.GI); err != nil {
		return err
	}
	if err := a.inUse(j.UUID, at); err != nil {
		return err
	}
	a.o.Failpoint(FailProvenEmpty)
	err := a.step(ctx, j, journal.Step{Kind: journal.StepDestroy, At: at}, func() error {
		return a.o.Driver.Destroy(ctx, j.UUID, at, i.GI)
	})
	switch {
	case errors.Is(err, errUnseen):
		return err
	case a.seen.instance(j.UUID, at) == nil:
		return nil
	case err == nil:
		return fmt.Errorf("destroy %s: the driver says that it is gone, and still lists it: %w", a.describe(j.UUID, at), device.ErrInUse)
	}
	return fmt.Errorf("destroy %s: %w", a.describe(j.UUID, at), err)
}

func (a *Agent) stillOurs(j *journal.GPU, at mig.Placed, gi int) error {
	known := j.Instance(at)
	if known == nil || known.Foreign || known.GI != gi {
		return final("%s is not ours any more", a.describe(j.UUID, at))
	}
	return nil
}

// create makes an instance. nil means that it was seen to be there, and whole.
func (a *Agent) create(ctx context.Context, j *journal.GPU, at mig.Placed) error {
	err := a.step(ctx, j, journal.Step{Kind: journal.StepCreate, At: at}, func() error {
		_, err := a.o.Driver.Create(ctx, j.UUID, at)
		return err
	})
	if errors.Is(err, errUnseen) {
		return err
	}
	return a.wholeNow(j, at, "create", err)
}

// repair makes the compute instance of an instance of ours that has none.
func (a *Agent) repair(ctx context.Context, j *journal.GPU, at mig.Placed) error {
	err := a.step(ctx, j, journal.Step{Kind: journal.StepRepair, At: at}, func() error {
		_, err := a.o.Driver.Repair(ctx, j.UUID, at)
		return err
	})
	if errors.Is(err, errUnseen) {
		return err
	}
	return a.wholeNow(j, at, "repair", err)
}

func (a *Agent) wholeNow(j *journal.GPU, at mig.Placed, what string, err error) error {
	if a.ownWhole(j, at) {
		return nil
	}
	if err == nil {
		err = errors.New("the driver says that it is there, and does not list it so")
	}
	return fmt.Errorf("%s %s: %w", what, a.describe(j.UUID, at), err)
}

// errUnseen: what came of a step could not be read.
var errUnseen = errors.New("what came of it is not known")

// createRefused is a step whose call was refused. It is not written down so.
const createRefused = "CreateRefused"

var points = map[string][3]string{
	journal.StepDestroy: {FailDestroyBegun, FailDestroyDone, FailDestroyWritten},
	journal.StepCreate:  {FailCreateBegun, FailCreateDone, FailCreateWritten},
	journal.StepRepair:  {FailRepairBegun, FailRepairDone, FailRepairWritten},
}

// step writes a step down, calls the driver, reads what is there and writes that down.
// An error that wraps errUnseen leaves the step begun: the next reading settles it.
func (a *Agent) step(ctx context.Context, j *journal.GPU, s journal.Step, call func() error) error {
	j.Pending = &s
	if !a.save() {
		j.Pending = nil
		return waits("%v", a.unwritten)
	}
	point := points[s.Kind]
	a.o.Failpoint(point[0])
	began := a.o.Clock.Now()
	err := call()
	a.metrics.call(s.Kind, a.o.Clock.Since(began), err)
	a.o.Log.V(1).Info("Step", "gpu", j.UUID, "step", s.Kind, "profile", s.At.Profile, "start", s.At.Start, "error", err)
	a.o.Failpoint(point[1])
	a.layouts++
	if refused(err) && s.Kind == journal.StepCreate {
		j.Pending.Kind = createRefused // what is whole at the place now, this did not make
	}
	if readErr := a.readAgain(ctx); readErr != nil {
		return fmt.Errorf("%w: %w", errUnseen, errors.Join(readErr, err))
	}
	if !answers(a.seen.gpu(j.UUID)) {
		return fmt.Errorf("%w: the GPU does not answer: %w", errUnseen, errors.Join(device.ErrLost, err))
	}
	if !a.save() {
		return waits("%v", a.unwritten)
	}
	a.o.Failpoint(point[2])
	return err
}

// refused reports whether the driver did not do anything.
func refused(err error) bool {
	for _, known := range []error{
		device.ErrNoRoom, device.ErrInvalid, device.ErrNotSupported, device.ErrNoPermission, device.ErrNotFound,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

func (a *Agent) readAgain(ctx context.Context) error {
	if err := a.read(ctx); err != nil {
		return err
	}
	a.know()
	return nil
}

// try is something that is tried again.
type try struct {
	what        string
	since, next time.Time
	delay       time.Duration
}

// later puts off what did not go, with a delay that doubles, and says since when it has
// been tried.
func (a *Agent) later(key, what string, first, most time.Duration) time.Time {
	now := a.o.Clock.Now()
	t := a.tries[key]
	if t == nil || t.what != what {
		t = &try{what: what, since: now}
		a.tries[key] = t
	}
	t.delay = min(max(2*t.delay, first), most)
	t.next = now.Add(t.delay)
	return t.since
}

func (a *Agent) due(key string) bool {
	t := a.tries[key]
	return t == nil || !a.o.Clock.Now().Before(t.next)
}

// nextTry is after what time the next round is. What was due when this one began, and was
// not tried, waits for something else.
func (a *Agent) nextTry(began time.Time) time.Duration {
	next := a.o.Interval
	for _, t := range a.tries {
		if t.next.After(began) {
			next = min(next, t.next.Sub(a.o.Clock.Now()))
		}
	}
	return max(next, 20*time.Millisecond)
}
