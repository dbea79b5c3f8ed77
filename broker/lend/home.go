package lend

import (
	"slices"

	"github.com/ebbtide/ebbtide/quota"
)

// homebound: the job was taken back so often lately that it is not lent to for a while. It
// can run on its tenant's own quota alone.
func (d *decision) homebound(j *ask) bool {
	_, spent := d.history.spent(j.UID, d.now, d.pol)
	return spent
}

// keepHome keeps units of its tenant's own quota for a job that can have no others: what
// was asked back for it would be of no use to it if another job of its tenant had them.
func (d *decision) keepHome(j *ask, units int64) {
	if d.homebound(j) {
		d.books.own.Use(j.tenant, j.flavor, quota.Amount(units))
	}
}

// home answers whether a job could run on its tenant's own quota alone once what ends and
// some loans are gone: it must not take back what it could then not have. For a job that may
// borrow there is none, and all fits.
type home struct {
	*decision
	ask   *ask
	loans []*loan
	own   *quota.Tree
}

func newHome(d *decision, j *ask, h *holdings) *home {
	if !d.homebound(j) {
		return nil
	}
	m := &home{decision: d, ask: j, loans: h.loans, own: d.books.own.Clone()}
	for _, l := range d.loans {
		if l.comesFree() {
			m.leave(l, 1)
		}
	}
	return m
}

// leave takes out of the tenant's own quota what the loan has of it; with a sign of -1 it is
// put back.
func (m *home) leave(l *loan, sign int64) {
	if l.Borrower != m.ask.Tenant {
		return
	}
	for _, g := range l.Grants {
		if f, ok := m.own.Flavor(g.Flavor); ok && g.Lender == "" {
			m.own.Use(m.ask.tenant, f, quota.Amount(-sign*g.Count))
		}
	}
}

// fits: there is quota, and owners can get back in their shapes beside the job. With more
// gone it does not turn false.
func (m *home) fits(gone []int) bool {
	if m == nil {
		return true
	}
	for _, i := range gone {
		m.leave(m.loans[i], 1)
	}
	room := m.own.NominalRoom(m.ask.tenant, m.ask.flavor)
	for _, i := range gone {
		m.leave(m.loans[i], -1)
	}
	return quota.Amount(m.ask.need) <= room && m.leaves(gone)
}

// leaves: what evicting loans would give back, once those that are gone and nobody could
// have evicted are free as well, has room for owners and the job.
func (m *home) leaves(gone []int) bool {
	p := m.pool(m.ask.Flavor)
	back, backs := slices.Clone(p.back), make([]int64, len(p.rooms))
	for i := range p.rooms {
		backs[i] = p.rooms[i].back
	}
	for _, i := range gone {
		l := m.loans[i]
		if l.lent {
			continue
		}
		for n, g := range l.frees() {
			if at, ok := l.place(p, n, &g); ok && g.Flavor == p.flavor {
				back.shift(backs[at], backs[at]+g.Count, 1)
				backs[at] += g.Count
			}
		}
	}
	return back.fits(with(p.rights, shape{m.ask.UnitsPerPod, m.ask.Pods}))
}

// could reports whether it fits if all that it outranks were gone.
func (m *home) could() bool {
	if m == nil {
		return true
	}
	var mine []int
	for i, l := range m.loans {
		if l.Borrower == m.ask.Tenant && l.Priority < m.ask.Priority && !l.goes() {
			mine = append(mine, i)
		}
	}
	return m.fits(mine)
}
