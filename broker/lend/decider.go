package lend

import "slices"

// Decider decides as Decide does, to the byte, and quicker from the second time on: it
// keeps what it worked out about the waiting jobs, and looks anew only at those that are
// not as they were in the last snapshot. What it keeps follows from snapshots alone and
// is in no record: who has none decides the same, only slower. It keeps no reference to
// a snapshot but to its names. The zero Decider is ready to use. It is not safe for concurrent use.
type Decider struct {
	// Brief plans do not tell: of Verdicts they have the reasons of lenders, and Tenants,
	// Cycling and Waiting are empty. What they do, and the State, are the same.
	Brief bool

	crowd   *crowd
	boards  map[string]*board
	ground  *ground
	atlas   atlas
	scratch scratchpad
	shelf   shelf
}

// Decide is the package's Decide.
func (k *Decider) Decide(in Snapshot, prev State, pol Policy) (Plan, State) {
	d := k.begin(in, prev, pol)
	d.followLoans() // 1. What ended is returned, what overstays is evicted.
	d.drain()       // 2. What jobs of draining queues hold is asked back.
	d.countRooms()  // 3. What is free, comes free, or could be had back.
	d.assess()      // 4. Per lender: load, hysteresis, need, headroom, lendable.
	d.reclaim()     // 5. What lenders are owed and cannot place is taken back.
	d.reserve()     // 6. What they can place is kept for them.
	if !d.idle() {
		d.book()  // 7. What everybody uses of the quotas.
		d.admit() // 8. Jobs in order, on what is left or what is theirs to take back.
	}
	plan, next := d.finish()
	k.crowd.given = nil
	k.scratch.end(d)
	return plan, next
}

// idle: nobody waits who could be admitted, and nobody is told how the quotas stand.
func (d *decision) idle() bool { return d.brief && len(d.in.Jobs) == 0 && d.reshapes == nil }

// follow brings what is kept up to date with the snapshot. What was read of jobs depends
// on the setting as well: in another one all is read anew.
func (k *Decider) follow(in *Snapshot, b *books) *crowd {
	c := k.crowd
	if c == nil || !c.setting.same(in) || c.wasteful() {
		c = newCrowd(in, b)
		k.crowd = c
	}
	c.follow(in.Jobs, b)
	return c
}

// setting is what of tenants, flavors and queues decides how a job is read: who there
// is and how they are called, not what they have or use.
type setting struct {
	flavors []Flavor
	tenants []Tenant
	cohorts []Cohort
	queues  []Queue
}

func newSetting(in *Snapshot) setting {
	s := setting{
		flavors: slices.Clone(in.Flavors), tenants: slices.Clone(in.Tenants),
		cohorts: slices.Clone(in.Cohorts), queues: slices.Clone(in.Queues),
	}
	for i := range s.tenants {
		s.tenants[i].Quotas = slices.Clone(s.tenants[i].Quotas)
	}
	for i := range s.cohorts {
		s.cohorts[i].Quotas = slices.Clone(s.cohorts[i].Quotas)
	}
	return s
}

func (s *setting) same(in *Snapshot) bool {
	return slices.Equal(s.flavors, in.Flavors) &&
		slices.EqualFunc(s.tenants, in.Tenants, func(a, b Tenant) bool {
			return a.Name == b.Name && a.Cohort == b.Cohort && sameFlavors(a.Quotas, b.Quotas)
		}) &&
		slices.EqualFunc(s.cohorts, in.Cohorts, func(a, b Cohort) bool {
			return a.Name == b.Name && a.Parent == b.Parent && sameFlavors(a.Quotas, b.Quotas)
		}) &&
		slices.EqualFunc(s.queues, in.Queues, func(a, b Queue) bool {
			return a.Name == b.Name && a.Tenant == b.Tenant && a.FIFO == b.FIFO && a.FairShare == b.FairShare
		})
}

func sameFlavors(a, b []Quota) bool {
	return slices.EqualFunc(a, b, func(p, q Quota) bool { return p.Flavor == q.Flavor })
}
