package product

import "github.com/ebbtide/ebbtide/broker/lend"

// closeLoans asks the core to return what has come free, before anything else is decided: it
// lends nothing in the decision in which it returns it, and the broker makes the next one
// within a second, which is here the same moment. That one then sees the units free and the
// jobs waiting.
func (p *policy) closeLoans() {
	free := p.free[:0]
	for i := range p.snapshot.Loans {
		l := &p.snapshot.Loans[i]
		if p.held[i].over || len(l.Shedding) > 0 && l.ShedLive == 0 && !l.Reclaiming {
			free = append(free, *l)
		}
	}
	if p.free = free; len(free) == 0 {
		return
	}
	plan, _ := p.closer.Decide(lend.Snapshot{
		Now: p.snapshot.Now, Epoch: p.snapshot.Epoch, Flavors: p.snapshot.Flavors, Cohorts: p.snapshot.Cohorts, Tenants: p.snapshot.Tenants, Loans: free,
	}, lend.State{At: p.state.At, Since: p.state.Since, Decisions: p.state.Decisions}, p.rules)
	p.enact(&plan)
	p.lookAtJobs()
}
