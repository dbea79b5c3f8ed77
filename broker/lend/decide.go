package lend

import (
	"cmp"
	"slices"
	"time"
)

// Decide says what to do now. Equal arguments give equal results to the byte; the
// arguments are not changed. The returned State is the prev of the next call.
func Decide(in Snapshot, prev State, pol Policy) (Plan, State) {
	return new(Decider).Decide(in, prev, pol)
}

// decision is the working memory of one call.
type decision struct {
	in  Snapshot
	pol Policy
	now time.Time
	// number of this decision since the start, which was then, if that is known.
	number int64
	since  time.Time
	// last is when the decision before was made.
	last time.Time

	lenders []*lender // by name
	byName  map[string]*lender
	// sought is what lender was last asked for, found the answer.
	sought string
	found  *lender
	open   map[*pool]openLenders
	// What sources and eligible list.
	inside, outside, takes []take
	loans                  []*loan // by name
	pools                  map[string]*pool
	// reshapes are the changes of cards' layouts, nil where there are none.
	reshapes *reshapes
	tables   map[string]*board
	atlas    *atlas
	scratch  *scratchpad
	shelf    *shelf
	flavors  []string // sorted keys of pools
	books    *books
	crowd    *crowd
	// brief: what is only told is left out.
	brief bool
	// requests is what waiting jobs asked back.
	requests requests
	turns    turns
	waiting  []Place
	history  history
	// stalls is when each job's loan was last asked back because it had not started.
	stalls map[string]time.Time

	returns, evicts, reclaims, lends []Action
	// verdicts on lenders and loans; those on jobs are in the line.
	verdicts []Verdict
	line     *line
}

func begin(in Snapshot, prev State, pol Policy) *decision { return new(Decider).begin(in, prev, pol) }

func (k *Decider) begin(in Snapshot, prev State, pol Policy) *decision {
	// Without its monotonic reading, which a record cannot hold, time passes for the
	// live decision exactly as for its replay.
	in.Now = in.Now.Round(0)
	prev = prev.upTo(in.Now, pol)
	d := &decision{
		in: in, pol: pol, now: in.Now, number: prev.Decisions + 1, since: prev.Since, last: prev.At,
		byName: map[string]*lender{}, pools: map[string]*pool{},
		open: map[*pool]openLenders{}, books: k.openBooks(&in),
	}
	if prev.At.IsZero() || d.since.After(d.now) {
		d.since = d.now
	}
	k.atlas.follow(in.Nodes)
	d.atlas, d.scratch, d.shelf = &k.atlas, &k.scratch, &k.shelf
	d.crowd, d.brief = k.follow(&d.in, d.books), k.Brief
	d.history = remember(prev.Jobs, in.Now.Add(-max(pol.EvictionWindow, pol.CycleWindow)), in.Now)
	d.stalls = rememberStalls(prev.Jobs, pol.StartWithin, in.Now)
	d.readLenders(prev.Lenders)
	d.tables = k.boardsOf(d.in.Boards)
	d.readReshapes(prev.Reshapes)
	d.readLoans(prev.Loans)
	d.rememberAsked(prev.Jobs)
	d.rememberTurns(prev.Jobs)
	return d
}

// readLenders copies the lenders. None owns more than its tenant's nominal quota.
func (d *decision) readLenders(prev []LenderState) {
	memory := make(map[string]int, len(prev))
	for i := range prev {
		memory[prev[i].Name] = i
	}
	all := d.scratch.lend(len(d.in.Lenders))
	for i := range d.in.Lenders {
		l := &d.in.Lenders[i]
		if d.byName[l.Name] != nil {
			continue
		}
		m, c := &LenderState{}, &all[i]
		if at, known := memory[l.Name]; known {
			m = &prev[at]
		}
		c.begin(l, m)
		c.memory.recentReclaims(d.now, d.pol)
		d.byName[l.Name] = c
		d.lenders = append(d.lenders, c)
	}
	slices.SortFunc(d.lenders, func(a, b *lender) int { return cmp.Compare(a.Name, b.Name) })
	d.found = d.byName[d.sought]
	left := nominals{d.books.ground, map[[2]string][2]int64{}}
	for _, l := range d.lenders {
		left.own(l)
		p := d.pool(l.Flavor)
		p.lenders = append(p.lenders, l)
	}
}

// lender is the one of that name; nil if there is none. Of a list of grants, most have the
// same as the one before.
func (d *decision) lender(name string) *lender {
	if d.sought != name {
		d.sought, d.found = name, d.byName[name]
	}
	return d.found
}

// pool returns the flavor's pool, and makes it if there is none.
func (d *decision) pool(flavor string) *pool {
	p := d.pools[flavor]
	if p == nil {
		p = d.scratch.pool(flavor, d.atlas)
		d.pools[flavor] = p
		i, _ := slices.BinarySearch(d.flavors, flavor)
		d.flavors = slices.Insert(d.flavors, i, flavor)
	}
	return p
}

// tell says why, and how all stand.
func (d *decision) tell(plan *Plan) {
	if d.brief {
		for _, l := range d.lenders {
			plan.Verdicts = append(plan.Verdicts, Verdict{Kind: SubjectLender, Subject: l.Name, Reason: l.reason()})
		}
		return
	}
	d.verdicts = d.scratch.verdicts
	d.explainLenders()
	d.explainLoans()
	plan.Tenants, plan.Cycling = d.tenantViews(), d.cycling()
	plan.Waiting, plan.Verdicts = d.waiting, d.allVerdicts()
}

// finish puts the results in order.
func (d *decision) finish() (Plan, State) {
	plan := Plan{
		Actions:  slices.Concat(d.returns, d.evicts, d.reclaims, d.lends),
		Lenders:  make([]LenderView, 0, len(d.lenders)),
		Reshapes: d.reshapeActions(),
		Scales:   d.scale(),
	}
	d.tell(&plan)
	if plan.Actions == nil {
		plan.Actions = []Action{}
	}
	next := State{
		Lenders: make([]LenderState, 0, len(d.lenders)), Jobs: d.history.states(d.stalls, d.stillAsked(), d.requests.pending, d.turns.since),
		Decisions: d.number, At: d.now, Since: d.since, Reshapes: d.reshapeMemory(),
	}
	for _, l := range d.loans {
		if l.memory != (LoanState{Name: l.Name}) && (l.action == nil || l.action.Kind != ActionReturn) {
			next.Loans = append(next.Loans, l.memory)
		}
	}
	for _, l := range d.lenders {
		plan.Lenders = append(plan.Lenders, l.view())
		next.Lenders = append(next.Lenders, l.memory)
	}
	return plan, next
}
