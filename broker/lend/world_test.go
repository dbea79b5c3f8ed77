package lend

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// world is a small cluster that plans are applied to: what the broker, the
// scheduler, the workloads and their users do around the core.
type world struct {
	now    time.Time
	epoch  int64
	state  State
	policy Policy

	nodes   []Node // capacity, schedulable and Other; the rest is worked out
	flavors []Flavor
	cohorts []Cohort
	tenants []Tenant
	limits  []Limit // Left is what is left beside what jobs hold
	queues  []Queue
	lenders []*service
	jobs    []*training
	loans   []*Loan
	cards   cardWorld
}

// service is an online workload.
type service struct {
	Lender
	// util is the load as a share of the slots of all owned units; negative: the
	// metrics are gone.
	util float64
	// panic is the same within the panic window.
	panic    float64
	signals  []Signal
	age      time.Duration
	coverage float64
	replicas []replica
	waits    []PendingPod
	names    int
}

type replica struct {
	node    string
	leaving time.Time // zero: stays
}

// training is a job.
type training struct {
	Job
	// stops is how long its pods take to exit when told to.
	stops    time.Duration
	finished bool
	// runs is how long it takes once admitted; 0: until told otherwise. Taken back, it
	// starts anew.
	runs time.Duration
	// lingers: its pods outlive it, until they are killed.
	lingers bool
	// stuck: they do not go at all.
	stuck bool
}

func newWorld() *world {
	w := &world{
		now: time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC), epoch: 1, policy: DefaultPolicy(),
	}
	w.state = State{At: w.now.Add(-5 * time.Second)} // its broker has run for long
	return w
}

// heldBy is what loans hold of a node and flavor, as far as their pods exist.
func (w *world) heldBy(node, flavor string) int64 {
	var n int64
	for _, l := range w.loans {
		if l.Live == 0 && (l.Reclaiming || l.Preempted || l.Finished) {
			continue
		}
		for _, g := range l.Grants {
			if g.Node == node && g.Flavor == flavor {
				n += g.Count
			}
		}
	}
	return n
}

// online is what the services' pods hold of a node, and the leaving part of it.
func (w *world) online(node, flavor string) (all, leaving int64) {
	for _, s := range w.lenders {
		for _, r := range s.replicas {
			if r.node != node || s.Flavor != flavor {
				continue
			}
			all += s.UnitsPerPod
			if !r.leaving.IsZero() {
				leaving += s.UnitsPerPod
			}
		}
	}
	return all, leaving
}

// schedule starts and stops online pods, as a cluster with a scheduler does: each
// new pod goes to the fullest node that has the units.
func (w *world) schedule() {
	for _, s := range w.lenders {
		s.replicas = slices.DeleteFunc(s.replicas, func(r replica) bool {
			return w.node(r.node) == nil || (!r.leaving.IsZero() && !r.leaving.After(w.now))
		})
		running := s.running()
		for i := len(s.replicas) - 1; i >= 0 && running > s.Desired; i-- {
			if s.replicas[i].leaving.IsZero() {
				s.replicas[i].leaving = w.now.Add(10 * time.Second)
				running--
			}
		}
		var still []PendingPod
		for i := int64(0); running < s.Desired; i++ {
			if node := w.fullest(s.Flavor, s.UnitsPerPod); node != "" {
				s.replicas = append(s.replicas, replica{node: node})
				running++
				continue
			}
			if int(i) < len(s.waits) {
				still = append(still, s.waits[i])
			} else {
				s.names++
				still = append(still, PendingPod{Name: fmt.Sprintf("%s-%03d", s.Name, s.names), Since: w.now})
			}
			if int64(len(still)) == s.Desired-running {
				break
			}
		}
		s.waits = still
	}
}

func (s *service) running() int64 {
	var n int64
	for _, r := range s.replicas {
		if r.leaving.IsZero() {
			n++
		}
	}
	return n
}

func (w *world) fullest(flavor string, size int64) string {
	best, room := "", int64(math.MaxInt64)
	for _, n := range w.nodes {
		for _, u := range n.Units {
			if u.Flavor != flavor || !n.Schedulable {
				continue
			}
			all, _ := w.online(n.Name, flavor)
			free := u.Capacity - u.Other - all - w.heldBy(n.Name, flavor)
			if w.cards.of(n.Name) != nil {
				free = w.slotsFor(n.Name, flavor) - all
			}
			if free >= size && free < room {
				best, room = n.Name, free
			}
		}
	}
	return best
}

func (w *world) node(name string) *Node {
	for i := range w.nodes {
		if w.nodes[i].Name == name {
			return &w.nodes[i]
		}
	}
	return nil
}

func (w *world) service(name string) *service {
	for _, s := range w.lenders {
		if s.Name == name {
			return s
		}
	}
	return nil
}

func (w *world) training(name string) *training {
	for _, j := range w.jobs {
		if j.Name == name {
			return j
		}
	}
	return nil
}

func (w *world) loanOf(uid string) *Loan {
	for _, l := range w.loans {
		if l.JobUID == uid {
			return l
		}
	}
	return nil
}

// snapshot is what the broker would gather now.
func (w *world) snapshot() Snapshot {
	in := Snapshot{
		Now: w.now, Epoch: w.epoch,
		Flavors: slices.Clone(w.flavors), Cohorts: slices.Clone(w.cohorts),
		Tenants: slices.Clone(w.tenants), Queues: slices.Clone(w.queues), Limits: slices.Clone(w.limits),
	}
	for i := range in.Limits {
		for _, l := range w.loans {
			for _, d := range w.training(l.Job).Draws {
				if d.Limit == in.Limits[i].Name {
					in.Limits[i].Left -= d.Amount
				}
			}
		}
	}
	in.Boards = w.cards.boards
	for _, n := range w.nodes {
		n.Units = slices.Clone(n.Units)
		for i := range n.Units {
			u := &n.Units[i]
			u.Online, u.Leaving = w.online(n.Name, u.Flavor)
		}
		w.showCards(&n)
		in.Nodes = append(in.Nodes, n)
	}
	for _, s := range w.lenders {
		in.Lenders = append(in.Lenders, s.seen(w.now))
	}
	for _, j := range w.jobs {
		// A job whose loan ends is suspended, and so waits, before the loan is closed.
		if l := w.loanOf(j.UID); !j.finished && (l == nil || l.Reclaiming || l.Preempted) {
			in.Jobs = append(in.Jobs, j.Job)
		}
	}
	for _, l := range w.loans {
		in.Loans = append(in.Loans, *l)
	}
	slices.SortFunc(in.Nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(in.Lenders, func(a, b Lender) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(in.Jobs, func(a, b Job) int { return strings.Compare(a.UID, b.UID) })
	slices.SortFunc(in.Loans, func(a, b Loan) int { return strings.Compare(a.Name, b.Name) })
	return in
}

func (s *service) seen(now time.Time) Lender {
	l := s.Lender
	l.Running = s.running()
	l.Ready = l.Running
	l.Pending = slices.Clone(s.waits)
	if s.Scale != nil {
		scale := *s.Scale
		scale.Replicas = s.Desired
		l.Scale = &scale
	}
	l.Load = Load{Unknown: "the query gave no result"}
	if s.util >= 0 {
		l.Load = Load{
			Known: true, ObservedAt: now.Add(-s.age), Coverage: s.coverage, Slots: 100,
			Requests: s.util * 100 * float64(s.Owned) / float64(s.UnitsPerPod), Signals: slices.Clone(s.signals),
			Panic: s.panic * 100 * float64(s.Owned) / float64(s.UnitsPerPod),
		}
	}
	return l
}

// step lets time pass: pods exit, killed ones at once, and online pods move in.
func (w *world) step(d time.Duration) {
	w.now = w.now.Add(d)
	for _, l := range w.loans {
		j := w.training(l.Job)
		if j.runs > 0 && !l.Reclaiming && !l.Preempted && !w.now.Before(l.Since.Add(j.runs)) {
			l.Finished, j.finished = true, true
		}
		switch {
		case j.stuck:
		case l.Killed, (l.Preempted || l.Finished) && !j.lingers:
			l.Live = 0
		case l.Reclaiming && !w.now.Before(w.askedAt(l).Add(j.stops)):
			l.Live = 0
		}
	}
	w.agents()
	w.schedule()
}

func (w *world) askedAt(l *Loan) time.Time {
	return l.Checkpoint // frozen when the loan was asked back
}

// decide makes one decision and applies it.
func (w *world) decide() (Snapshot, Plan) {
	in := w.snapshot()
	plan, next := Decide(in, w.state, w.policy)
	w.state = next
	w.enact(plan)
	return in, plan
}

func (w *world) enact(plan Plan) {
	for _, r := range plan.Reshapes {
		w.reshape(r)
	}
	for _, a := range plan.Actions {
		w.apply(a)
	}
	for _, s := range plan.Scales {
		w.service(s.Lender).Desired = s.Replicas
	}
	if len(plan.Scales) > 0 {
		w.schedule()
	}
}

func (w *world) apply(a Action) {
	j := w.training(a.Job)
	if a.Kind == ActionLend {
		j.Attempt = a.Attempt
		w.grantMade(a)
		w.loans = append(w.loans, &Loan{
			Name: a.Loan, Job: a.Job, JobUID: a.JobUID, Borrower: j.Tenant, Queue: j.Queue,
			Priority: j.Priority, Attempt: a.Attempt, Pods: j.Pods, Grants: a.Grants,
			Since: w.now, Checkpoint: w.now, Grace: cmp.Or(j.Grace, 30*time.Second), Live: j.Pods, Bound: j.Pods,
		})
		return
	}
	i := slices.IndexFunc(w.loans, func(l *Loan) bool { return l.Name == a.Loan })
	l := w.loans[i]
	switch a.Kind {
	case ActionReclaim:
		l.Reclaiming, l.ReclaimBy, l.ReclaimID, l.Checkpoint, l.ReclaimedFor = true, a.ReclaimBy, a.ReclaimID, w.now, a.ReclaimedFor
		j.Queued = w.now
		if j.stops == 0 {
			l.Live = 0
		}
	case ActionEvict:
		l.Killed = true
	case ActionReturn:
		w.loans = slices.Delete(w.loans, i, i+1)
	}
}
