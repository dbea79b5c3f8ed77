package sample

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// How the program ends.
const (
	ExitDone = 0
	// ExitFailed: something could not be read or written.
	ExitFailed = 1
	// ExitStopped: SIGTERM came, and all work is saved. It is what a shell says of a
	// process that SIGTERM ended.
	ExitStopped = 143
)

// Config says what to train and where to keep it.
type Config struct {
	Seed uint64
	// Steps is how many there are to do, StepTime how long each takes at the least.
	Steps    int64
	StepTime time.Duration
	// CheckpointEvery is the time between two checkpoints; 0: only when it is told or
	// stopped, and at the end.
	CheckpointEvery time.Duration
	// Checkpoint is the file that a run saves to and goes on from.
	Checkpoint string
	// Model is the file for the model after the last step; empty: it is not written.
	Model string
	// Journal is the file for all that happens; empty: it is not written.
	Journal string
	// Annotations is the file of the pod's annotations, and Poll how often it is looked
	// at; empty: it is not.
	Annotations string
	Poll        time.Duration
	// Hook is the address to listen on for calls about a reclaim; empty: none.
	Hook string
	// Pod, if not nil, is told when the work was last saved.
	Pod *Pod
	// Warn is told what went wrong without harm to the training; nil: nobody is.
	Warn func(error)
}

// Validate names the first thing that cannot be.
func (c *Config) Validate() error {
	switch {
	case c.Steps < 1:
		return fmt.Errorf("--steps: %d must be at least 1", c.Steps)
	case c.StepTime < 0:
		return fmt.Errorf("--step-time: %s must not be negative", c.StepTime)
	case c.CheckpointEvery < 0:
		return fmt.Errorf("--checkpoint-every: %s must not be negative", c.CheckpointEvery)
	case c.Checkpoint == "":
		return errors.New("--checkpoint: must name a file")
	case c.Annotations != "" && c.Poll <= 0:
		return fmt.Errorf("--poll: %s must be above 0", c.Poll)
	case c.Pod != nil && (c.Pod.Server == "" || c.Pod.Namespace == "" || c.Pod.Name == "" || c.Pod.UID == ""):
		return errors.New("--tell: the API server and the pod's namespace, name and UID must be known")
	}
	return nil
}

// run is one run of the program.
type run struct {
	Config
	model   *Model
	journal *journal
	teller  *teller
	notices chan notice
	// saved is when, and heard the deadline that was saved for.
	saved time.Time
	heard time.Time
}

// Run trains until all steps are done or stop says so, and returns the exit status.
func Run(ctx context.Context, c Config, stop <-chan os.Signal) (status int, err error) {
	if err := c.Validate(); err != nil {
		return ExitFailed, err
	}
	if c.Warn == nil {
		c.Warn = func(error) {}
	}
	r := &run{Config: c, notices: make(chan notice), saved: time.Now()}
	if r.model, err = resume(c.Checkpoint, c.Seed); err != nil {
		return ExitFailed, err
	}
	if r.journal, err = openJournal(c.Journal, c.StepTime); err != nil {
		return ExitFailed, err
	}
	defer func() { err = errors.Join(err, r.journal.close()) }()
	if err := r.note(Entry{Event: EventStarted}); err != nil {
		return ExitFailed, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	if err := r.listen(ctx, &beside); err != nil {
		return ExitFailed, err
	}
	if status, err = r.train(stop); err != nil {
		return ExitFailed, err
	}
	return status, nil
}

// listen begins to hear and tell what concerns the pod.
func (r *run) listen(ctx context.Context, beside *sync.WaitGroup) (err error) {
	if r.Hook != "" {
		if err := serveHook(ctx, r.Hook, r.notices, r.Warn); err != nil {
			return err
		}
	}
	if r.Annotations != "" {
		beside.Go(func() { watchAnnotations(ctx, r.Annotations, r.Poll, r.notices, r.Warn) })
	}
	if r.Pod != nil {
		if r.teller, err = newTeller(*r.Pod); err != nil {
			return err
		}
		told := func(at time.Time) {
			if err := r.journal.write(Entry{Event: EventTold, Saved: at.Truncate(time.Second)}); err != nil {
				r.Warn(err)
			}
		}
		beside.Go(func() { r.teller.run(ctx, told, r.Warn) })
	}
	return nil
}

func (r *run) train(stop <-chan os.Signal) (status int, err error) {
	pace, end := pacer(r.StepTime)
	defer end()
	for r.model.Step < r.Steps {
		select {
		case <-stop:
			return ExitStopped, r.stopped()
		default:
		}
		select {
		case <-stop:
			return ExitStopped, r.stopped()
		case n := <-r.notices:
			err = r.noticed(n)
		case <-pace:
			err = r.step()
		}
		if err != nil {
			return ExitFailed, err
		}
	}
	if err := r.save("end"); err != nil {
		return ExitFailed, err
	}
	if r.Model != "" {
		if err := writeWhole(r.Model, r.model); err != nil {
			return ExitFailed, err
		}
	}
	return ExitDone, r.note(Entry{Event: EventDone})
}

// pacer is ready whenever a step may be done.
func pacer(stepTime time.Duration) (ready <-chan time.Time, end func()) {
	if stepTime > 0 {
		ticker := time.NewTicker(stepTime)
		return ticker.C, ticker.Stop
	}
	at := make(chan time.Time)
	close(at)
	return at, func() {}
}

func (r *run) step() error {
	r.model.step()
	if err := r.note(Entry{Event: EventStep}); err != nil {
		return err
	}
	if r.CheckpointEvery > 0 && time.Since(r.saved) >= r.CheckpointEvery {
		return r.save("interval")
	}
	return nil
}

// noticed saves as soon as it is known that the units are taken back, once for each
// deadline: what is saved now need not be saved in the grace. Training goes on,
// because a loan may be spared.
func (r *run) noticed(n notice) error {
	if err := r.note(Entry{Event: EventNotice, Source: n.source, By: n.by}); err != nil {
		return err
	}
	// The annotation has whole seconds.
	if by := n.by.Truncate(time.Second); !by.Equal(r.heard) {
		r.heard = by
		return r.save(n.source)
	}
	return nil
}

// stopped saves what was done. How long there is for that, the pod's annotation says:
// it may be less than the grace that the job asked for.
func (r *run) stopped() error {
	by := r.heard
	if r.Annotations != "" {
		if read, err := readDeadline(r.Annotations); err == nil && !read.IsZero() {
			by = read
		}
	}
	if err := r.note(Entry{Event: EventTerminated, By: by}); err != nil {
		return err
	}
	if err := r.save("stop"); err != nil {
		return err
	}
	return r.note(Entry{Event: EventStopped})
}

func (r *run) save(why string) error {
	now := time.Now()
	if err := writeWhole(r.Checkpoint, Checkpoint{*r.model, now.UTC()}); err != nil {
		return err
	}
	r.saved = now
	r.teller.saved(now)
	return r.note(Entry{Event: EventSaved, Source: why})
}

func (r *run) note(e Entry) error {
	e.Step = r.model.Step
	return r.journal.write(e)
}
