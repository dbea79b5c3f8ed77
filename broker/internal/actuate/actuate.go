package actuate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

// Finalizer keeps a Loan until the ledger has its last entry.
const Finalizer = "ebbtide.dev/ledger"

// parallel bounds how many loans are worked on at once. One loan's steps are
// always in order.
const parallel = 16

// Ledger is what actuating needs of the ledger.
type Ledger interface {
	Append(e ledger.Entry) (ledger.Entry, error)
	// Loan is the open loan of that name.
	Loan(name string) (ledger.OpenLoan, bool)
	OpenLoans() []ledger.OpenLoan
	ByLoan(name string) ([]ledger.Entry, error)
	Changes
}

// Changes is what the ledger knows of changes of GPUs' layouts.
type Changes interface {
	// Reshape is the open one with that ID.
	Reshape(id string) (ledger.OpenReshape, bool)
	OpenReshapes() []ledger.OpenReshape
}

// Jobs is what actuating needs of the kinds of jobs; *jobs.Set is one, and says what the
// methods do.
type Jobs interface {
	Find(ctx context.Context, r client.Reader, ref jobs.Ref) (jobs.Job, error)
	Resume(ctx context.Context, ref jobs.Ref, attempt int32, gang jobs.Gang) error
	Suspend(ctx context.Context, ref jobs.Ref) error
	SkipAttempt(ctx context.Context, ref jobs.Ref, attempt int32) error
	Sizes
}

// Sizes is what actuating needs of the jobs that can go on with fewer pods.
type Sizes interface {
	Resize(ctx context.Context, ref jobs.Ref, pods int64, leaving ...string) error
	StopsNamed(ref jobs.Ref) bool
}

// Actuator carries plans out. Its fields are set once, before the first call; it
// is to be used from one goroutine.
type Actuator struct {
	// Client writes; Live reads around the caches.
	Client client.Client
	Live   client.Reader
	Jobs   Jobs
	// Chains knows who made pods; nil: nobody is known.
	Chains *lineage.Lineage
	Ledger Ledger
	Events *Events
	// Teller tells waiting jobs' owners in the job itself; nil if nobody does.
	Teller Teller
	Clock  clock.PassiveClock
	// Hooks tell pods about a reclaim that want to hear of it by HTTP; nil for none.
	Hooks *Hooks
	// Setbacks hears of admissions that came to nothing; nil if nobody listens.
	Setbacks *gather.Setbacks
	// Durable, if set, is the number up to which the ledger's entries are wherever the broker
	// was told to wait for them. nil: nobody but the ledger's volume has them; then a Loan
	// carries its entries for as long as it is there.
	Durable func() uint64
	// Secure, if set, waits until an entry is there; an error: nothing may be lent on it.
	Secure func(ctx context.Context, seq uint64) error
	// Gap, if set, is written at the start: which entries the ledger does not have.
	Gap *ledger.Entry
	// MayLend, if set, says what keeps anything from being lent or reshaped now; nil: nothing.
	// What is lent is taken back as ever.
	MayLend func() error
	// QuarantineAfter, if set, is how long the pods of a loan may outlive their time before it
	// is quarantined; 0: QuarantineAfter.
	QuarantineAfter time.Duration
	// Epoch is stamped on Loans, LendingPolicies and ledger entries.
	Epoch int64
	// Reclaimed, if set, hears how units came back that the broker had asked for, of each
	// loan or part of one.
	Reclaimed func(loan *v1alpha1.Loan, how course.Reclaim)
	// GPUs hears of what is written into GPUNodes. It must be set if the view may have any.
	GPUs GPUs
	// Reshaped, if set, hears of each entry about a change of a GPU's layout but the first.
	Reshaped func(ledger.Kind)

	// compared are the last entries of Loans that another broker wrote, by UID, where the
	// Loans are known to carry them.
	compared sync.Map
	// heard is when nodes with loans answered last.
	heard   map[string]time.Time
	numbers throttle
	told    told
	// spoken are the verdicts of the last round.
	spoken []lend.Verdict
}

// ErrStop wraps errors after which this process must not act any more: another
// leader has written, or it is unknown what the ledger holds.
var ErrStop = errors.New("the broker must stop")

// round is one Apply.
type round struct {
	*Actuator
	view *gather.View
	log  logr.Logger
	// tenant says who may read what.
	tenant ofTenants

	cycling map[string]int // how often the jobs that go round were stopped, by UID

	mu       sync.Mutex
	errs     []error
	overdue  bool            // steps were left
	returned map[string]bool // loans that are proven free and closed in the ledger
	taken    []ledger.Entry  // steps that are to be written down
	// written are GPUNodes, by name.
	written map[string]*v1alpha1.GPUNode
}

// Apply carries a plan out. What fails is left for the next decision and
// reported, joined; ErrStop among it means that nothing may follow.
func (a *Actuator) Apply(ctx context.Context, view *gather.View, plan *lend.Plan) error {
	r := &round{
		Actuator: a, view: view, log: logr.FromContextOrDiscard(ctx), tenant: tenantsOf(&view.Snapshot),
		returned: map[string]bool{}, cycling: map[string]int{}, written: map[string]*v1alpha1.GPUNode{},
	}
	for _, c := range plan.Cycling {
		r.cycling[c.UID] = c.Evictions
	}
	r.listen(view)
	// 1. Undo reshapes; give back, kill and ask back; finish what earlier rounds began;
	// scale.
	r.each(ctx, slices.Concat(r.gpuNodes(plan), r.endings(plan), r.scalings(plan), r.missingReshapes(plan)))
	// 2. Write down what is to be lent and reshaped, and withdraw it from the lenders.
	lends, makings := r.intend(ctx, plan), r.intendReshapes(plan)
	lends, makings = r.secured(ctx, lends, makings)
	withdrawn := r.lenders(ctx, plan, lends, makings)
	// 3. Lend and reshape what was withdrawn, and delete Loans that no lender counts any
	// more.
	r.each(ctx, slices.Concat(r.lendings(lends, withdrawn), r.deletions(withdrawn), r.reshapings(makings, withdrawn)))
	// 4. Say what happened.
	r.tenants(ctx, plan)
	r.queues(ctx, plan)
	news := r.news(plan)
	r.verdicts(plan, news)
	r.tell(ctx, plan, news)
	r.writeSteps()
	return errors.Join(r.errs...)
}

// step is one loan's work.
type step struct {
	what string
	loan string
	do   func(ctx context.Context) error
}

// each does independent steps side by side.
func (r *round) each(ctx context.Context, steps []step) {
	var group errgroup.Group
	group.SetLimit(parallel)
	for _, s := range steps {
		group.Go(func() error {
			if r.stopped() {
				return nil
			}
			if ctx.Err() != nil {
				r.late(ctx)
				return nil //nolint:nilerr // late keeps why
			}
			if err := s.do(ctx); err != nil {
				r.fail(fmt.Errorf("%s %s: %w", s.what, s.loan, err))
			}
			return nil
		})
	}
	_ = group.Wait() // errors are in r.errs
}

// late notes once that steps were left because the round's time is over.
func (r *round) late(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.overdue {
		r.overdue = true
		r.errs = append(r.errs, fmt.Errorf("the rest is left to the next decision: %w", context.Cause(ctx)))
	}
}

func (r *round) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, err)
}

// mayLend says what keeps the round from lending.
func (r *round) mayLend() error {
	if r.MayLend == nil {
		return nil
	}
	return r.MayLend()
}

// stopped: nothing more may be done in this round.
func (r *round) stopped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range r.errs {
		if errors.Is(err, ErrStop) {
			return true
		}
	}
	return false
}

func (r *round) note(set map[string]bool, loan string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	set[loan] = true
}

// endings are all steps that end loans. A loan that the plan does nothing new
// about still needs its unfinished steps done. Who is asked back goes first: somebody
// waits for the units.
func (r *round) endings(plan *lend.Plan) []step {
	var urgent []step
	steps := append(r.missing(), r.strays()...)
	planned := strongest(plan)
	for i := range plan.Actions {
		action := &plan.Actions[i]
		object := r.view.Loans[action.Loan]
		if object == nil || planned[action.Loan] != action || unquarantined(object) != "" {
			continue
		}
		l := r.loan(action.Loan, object)
		if len(action.Shed) > 0 {
			urgent = append(urgent, r.shedding(l, action))
			continue
		}
		switch action.Kind {
		case lend.ActionReturn:
			steps = append(steps, step{"return", action.Loan, func(ctx context.Context) error { return r.giveBack(ctx, l, action) }})
		case lend.ActionEvict:
			urgent = append(urgent, step{"evict", action.Loan, r.thenQuarantine(l, func(ctx context.Context) error { return r.evict(ctx, l, action) })})
		case lend.ActionReclaim:
			urgent = append(urgent, step{"reclaim", action.Loan, func(ctx context.Context) error { return r.reclaim(ctx, l, action) }})
		}
	}
	for name, object := range r.view.Loans {
		if gather.Returned(object) {
			steps = append(steps, step{"close", name, func(ctx context.Context) error { return r.closeReturned(ctx, name, object) }})
		}
	}
	return append(append(urgent, steps...), r.unplanned(planned)...)
}

// unplanned are the steps of loans about which the plan says nothing new.
func (r *round) unplanned(planned map[string]*lend.Action) []step {
	var steps []step
	for i := range r.view.Snapshot.Loans {
		s := &r.view.Snapshot.Loans[i]
		object := r.view.Loans[s.Name]
		word := unquarantined(object)
		if planned[s.Name] != nil && word == "" {
			continue
		}
		l := r.loan(s.Name, object)
		do := func(ctx context.Context) error { return r.confirm(ctx, l) }
		what := "confirm"
		switch {
		case word != "":
			steps = append(steps, step{"release", s.Name, func(ctx context.Context) error { return r.release(ctx, l, word) }})
			continue
		case s.Reclaiming:
			what, do = "stop", func(ctx context.Context) error { return r.stop(ctx, l, s.ReclaimBy) }
		case len(s.Shedding) > 0 && !s.Preempted && !s.Finished:
			what, do = "shrink", func(ctx context.Context) error { return r.shrink(ctx, l, s.ReclaimBy) }
		case s.Preempted:
			what, do = "requeue", func(ctx context.Context) error { return r.requeue(ctx, l) }
		}
		steps = append(steps, step{what, s.Name, r.thenQuarantine(l, do)})
	}
	return steps
}

// strongest is the one action on each loan that is carried out. A plan may have another
// about a part of it: what is asked for then includes that part, and what a part's
// return would have said follows when the rest is done.
func strongest(plan *lend.Plan) map[string]*lend.Action {
	out := map[string]*lend.Action{}
	rank := func(a *lend.Action) int {
		switch {
		case len(a.Shed) == 0:
			return 2
		case a.Kind == lend.ActionReclaim:
			return 1
		}
		return 0
	}
	for i := range plan.Actions {
		a := &plan.Actions[i]
		if a.Kind == lend.ActionLend {
			continue
		}
		if other := out[a.Loan]; other == nil || rank(a) > rank(other) {
			out[a.Loan] = a
		}
	}
	return out
}

// loanRef is a Loan with its part of the snapshot.
type loanRef struct {
	name   string
	object *v1alpha1.Loan
	job    jobs.Ref
	// snapshot is nil for a Loan that is over.
	snapshot *lend.Loan
}

func (r *round) loan(name string, object *v1alpha1.Loan) *loanRef {
	l := &loanRef{name: name, object: object.DeepCopy(), job: jobs.RefOf(object)}
	loans := r.view.Snapshot.Loans // by name
	at, found := slices.BinarySearchFunc(loans, name, func(s lend.Loan, name string) int { return cmp.Compare(s.Name, name) })
	if found {
		l.snapshot = &loans[at]
	}
	return l
}
