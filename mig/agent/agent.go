package agent

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent/journal"
	"github.com/ebbtide/ebbtide/mig/device"
)

// Reasons of the condition Ready.
const (
	// ReasonReading: the GPUs are read, and their layouts may be changed.
	ReasonReading = "Reading"
	// ReasonRival: another program changes the layouts, and so the agent does not.
	ReasonRival = "RivalManager"
	// ReasonRivalUnknown: whether there is such a program could not be found out.
	ReasonRivalUnknown = "RivalManagerUnknown"
	// ReasonDriver: the driver does not answer.
	ReasonDriver = "DriverUnavailable"
	// ReasonHolders: who holds the slices could not be found out.
	ReasonHolders = v1alpha1.ReasonHoldersUnknown
	// ReasonJournal: the journal is not as it was written. Nothing is changed until an
	// administrator has looked at the GPUs and taken the journal away.
	ReasonJournal = "JournalCorrupt"
	// ReasonJournalWrite: the journal cannot be written, and so nothing is changed.
	ReasonJournalWrite = "JournalUnwritable"
)

// Agent is the agent of one node. Make, Unmake and Round may be called from several
// goroutines; one at a time does its work.
type Agent struct {
	o       Options
	journal *journal.Journal
	// corrupt is why the journal is not used.
	corrupt error
	metrics *metrics

	mu sync.Mutex
	// spec is what the broker wants, as last read.
	node *v1alpha1.GPUNode
	seen reading
	// rival and unwritten are why nothing may be written now, as last found out.
	rival     Verdict
	unwritten error
	// tries are what is tried again later, by what it is.
	tries map[string]*try
	// warm are instances whose destruction was refused although nobody held them, and
	// since when.
	warm map[instanceKey]time.Time
	// geometry as last read, for GPUs that do not answer.
	geometry map[string]*mig.Geometry
	// layouts counts changes of layouts since the start, whose time began is.
	layouts int
	began   time.Time

	activity  map[ActivityKey]device.Activity
	activeAt  time.Time
	published *v1alpha1.GPUNodeStatus
	// stands: what was published was seen in the GPUNode. doubted: it may not be there, and
	// is written again.
	stands, doubted bool
	heard           atomic.Bool
}

type instanceKey struct {
	gpu string
	at  mig.Placed
}

// New makes the agent of a node and takes the journal in StateDir, which Close gives
// back. A journal that another program has is an error; one that is corrupt makes an
// agent that says so and changes nothing.
func New(o Options) (*Agent, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(o.StateDir, o.Node)
	if err != nil && !errors.Is(err, journal.ErrCorrupt) {
		return nil, err
	}
	a := &Agent{
		o: o, journal: j, corrupt: err, tries: map[string]*try{}, warm: map[instanceKey]time.Time{},
		geometry: map[string]*mig.Geometry{}, metrics: newMetrics(o.Metrics), began: o.Clock.Now(),
	}
	if err != nil {
		o.Log.Error(err, "The journal is not as it was written: nothing is changed until an administrator has looked")
		return a, nil
	}
	a.recover()
	return a, nil
}

// Close gives the journal back.
func (a *Agent) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.journal.Close()
}

// Published reports whether a status was published since the start.
func (a *Agent) Published() bool { return a.heard.Load() }

// recover counts the changes that were found half done. Rounds carry them on. The agent may
// have been away for long: how long those take that are being undone is not said, and of
// those that are being made only the rest.
func (a *Agent) recover() {
	for _, r := range a.journal.State.Reshapes {
		if r.Touched && !r.Done() {
			r.Recovered++
			if r.Began = a.o.Clock.Now(); r.Back {
				r.Began = time.Time{}
			}
			a.metrics.recovered.Inc()
			a.o.Log.Info("Found a change half done", "reshape", r.Spec.ID, "state", r.State)
		}
	}
}

// Run runs rounds until ctx ends. Errors of a round are logged, and the next one tries
// again.
func (a *Agent) Run(ctx context.Context) error {
	timer := a.o.Clock.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C():
		case <-a.o.Nodes.Changed():
			if !timer.Stop() {
				select {
				case <-timer.C():
				default:
				}
			}
		}
		next, err := a.Round(ctx)
		if err != nil && ctx.Err() == nil {
			a.o.Log.Error(err, "A round did not come to its end")
		}
		timer.Reset(next)
	}
}

// Round does what is due now and says after what time the next is. It is what Run
// repeats.
//
//  1. Read the GPUNode, the GPUs and who holds them.
//  2. Compare with the journal: what is ours, foreign, lost or half done.
//  3. Take over what the broker asks for; publish.
//  4. Restore lost layouts, then carry out changes, one step at a time.
//  5. Publish.
func (a *Agent) Round(ctx context.Context) (time.Duration, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	began := a.o.Clock.Now()
	var errs []error
	node, err := a.o.Nodes.Get(ctx)
	if err != nil {
		errs = append(errs, fmt.Errorf("read the GPUNode: %w", err))
	} else {
		a.doubt(node)
		a.node = node
	}
	if a.corrupt != nil {
		return a.o.Interval, errors.Join(append(errs, a.publishVerdict(ctx, Verdict{metav1.ConditionFalse, ReasonJournal, a.corrupt.Error()}))...)
	}
	if err := a.read(ctx); err != nil {
		verdict := Verdict{metav1.ConditionFalse, ReasonDriver, err.Error()}
		return a.o.Interval, errors.Join(append(errs, err, a.publishVerdict(ctx, verdict))...)
	}
	a.know()
	a.adopt()
	a.askRival(ctx)
	a.ask()
	a.save()
	a.readActivity(ctx)
	errs = append(errs, a.publish(ctx))
	if a.unwritten == nil {
		a.restore(ctx)
		a.carryOut(ctx)
	}
	errs = append(errs, a.publish(ctx), a.unwritten)
	return a.nextTry(began), errors.Join(errs...)
}

// save writes the journal. Where that fails nothing is done to the GPUs.
func (a *Agent) save() bool {
	err := a.journal.Save()
	if err != nil && a.unwritten == nil {
		a.o.Log.Error(err, "The journal cannot be written: nothing is changed")
	}
	a.unwritten = err
	return err == nil
}

func (a *Agent) askRival(ctx context.Context) {
	a.rival = Verdict{Status: metav1.ConditionTrue}
	if a.o.Rival == nil {
		return
	}
	name, err := a.o.Rival.Rival(ctx)
	switch {
	case err != nil:
		a.rival = Verdict{metav1.ConditionFalse, ReasonRivalUnknown, "Whether another program cuts the GPUs is not known: " + err.Error()}
	case name != "":
		a.rival = Verdict{metav1.ConditionFalse, ReasonRival, name + " changes the layouts of this node's GPUs; one program at a time may"}
	}
}

// changeID is the same as long as no layout changes.
func (a *Agent) changeID() string {
	return strconv.FormatInt(a.began.UnixNano(), 36) + "-" + strconv.Itoa(a.layouts)
}
