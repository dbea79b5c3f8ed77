package product

import (
	"cmp"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// policy plays the broker.
type policy struct {
	rules   lend.Policy
	options Options

	world    *sim.World
	decider  lend.Decider
	closer   lend.Decider // of closeLoans
	state    lend.State
	snapshot lend.Snapshot
	nodes    map[string]int32 // indexes by name
	services map[string]int32
	cut      []int32  // nodes with cards
	heard    []*heard // by service
	lent     []int64  // by service: units in open loans
	queued   []queued // as the snapshot's jobs
	held     []held   // as the snapshot's loans
	// open is the loan of each job that has one; ending are those of which the world holds
	// nothing any more.
	open   map[*sim.JobState]string
	ending int
	// What a plan that is being carried out has opened and closed.
	opened []opened
	closed int
	// changed: nodes, jobs or loans are not as the last decision saw them; freed: only in that
	// there is more room.
	changed, freed bool
	calm           calm
	free           []lend.Loan // scratch of closeLoans
	// spare is the memory of the jobs before these.
	spare struct {
		queued []queued
		jobs   []lend.Job
	}
}

// New returns Ebbtide with some rules. Each run needs its own.
func New(rules lend.Policy, o Options) sim.Policy {
	p := &policy{rules: rules, options: o.filled(rules)}
	p.decider.Brief, p.closer.Brief, p.calm.decider.Brief = o.Seen == nil, true, true
	return p
}

// NoLending is New without any lending: all services only advise, and jobs have their
// tenants' own quota and what their cohorts leave unused.
func NoLending(rules lend.Policy, o Options) sim.Policy {
	if o.Name == "" || o.Name == Defaults().Name {
		o.Name = "no lending"
	}
	o.advise = true
	return New(rules, o)
}

func (p *policy) Name() string { return p.options.Name }

// mostRounds bounds the decisions of one moment.
const mostRounds = 4

// Decide makes a decision and carries it out. What was returned can be lent by the next
// one, which is made at the same moment unless Relend says otherwise.
func (p *policy) Decide(w *sim.World) time.Duration {
	if p.world == nil {
		p.begin(w)
	}
	if p.options.Relend > 0 {
		if p.decide() {
			return min(p.options.Relend, p.options.Every)
		}
		return p.options.Every
	}
	for range mostRounds {
		if !p.decide() {
			break
		}
	}
	return p.options.Every
}

// decide makes one decision, and reports whether it returned a loan: its units may be lent
// by the next one.
func (p *policy) decide() (returned bool) {
	p.look()
	if p.options.Relend <= 0 {
		p.closeLoans()
	}
	if p.quiet() {
		return false
	}
	plan, next := p.decider.Decide(p.snapshot, p.state, p.rules)
	if p.options.Seen != nil {
		p.options.Seen(p.snapshot, plan)
	}
	before := p.state
	p.state, p.changed, p.freed = next, false, false
	p.settle(&plan, before)
	return p.enact(&plan)
}

// begin takes over what does not change.
func (p *policy) begin(w *sim.World) {
	s := w.Scenario()
	p.world = w
	p.rules.StaleAfter = max(p.rules.StaleAfter, p.options.Every, s.Sample)
	p.nodes, p.services, p.open = map[string]int32{}, map[string]int32{}, map[*sim.JobState]string{}
	p.snapshot = lend.Snapshot{
		Epoch: 1, Boards: w.Boards(), Flavors: s.Flavors, Cohorts: s.Cohorts, Tenants: s.Tenants, Queues: s.Queues,
	}
	p.listNodes(s)
	for i, v := range w.Services() {
		p.services[v.Lender.Name] = int32(i)
		p.heard = append(p.heard, newHeard(v, s, p))
		l := v.Lender
		l.Pending, l.Load, l.Forecast, l.Scale = nil, lend.Load{}, nil, nil
		l.MIG = reshaping(l.MIG, s)
		p.snapshot.Lenders = append(p.snapshot.Lenders, l)
	}
	p.lent = make([]int64, len(p.snapshot.Lenders))
}

// look brings the snapshot up to date.
func (p *policy) look() {
	p.snapshot.Now = p.world.Time()
	p.lookAtNodes()
	for i, v := range p.world.Services() {
		p.heard[i].listen(v, p.world.Now())
		p.lookAtService(&p.snapshot.Lenders[i], v, p.heard[i])
	}
	p.lookAtLoans()
	p.lookAtCards()
	p.lookAtJobs()
}

// reshaping are a service's rules with how long the world takes where they do not say it.
func reshaping(rules *lend.MIGRules, s *sim.Scenario) *lend.MIGRules {
	if rules == nil {
		return nil
	}
	r, takes := *rules, cmp.Or(s.ReshapeTakes, 15*time.Second)
	r.Change, r.Undo = cmp.Or(r.Change, takes), cmp.Or(r.Undo, takes)
	return &r
}
