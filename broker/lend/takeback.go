package lend

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/ebbtide/ebbtide/quota"
)

// fairness knows what could be taken back for quota.
type fairness struct {
	*admission
	lists map[family]*holdings
	// searches were made for fairness in this decision.
	searches int
	buf      []quota.Share
	flags    []bool
}

// holdings are the open loans of one family of flavors in one tree of cohorts that
// may be taken back, in the order in which TakeBack takes.
type holdings struct {
	held  []quota.Held
	loans []*loan
	// lowest is the lowest priority of each tenant's loans, lent the tenants with one
	// that is not wholly own quota.
	lowest map[quota.NodeID]int32
	lent   map[quota.NodeID]bool
	// rivals are, of each cohort, the two children with the largest shares from which
	// something could be taken for fairness, as of a version of the books.
	rivals  map[quota.NodeID][2]rival
	version int
	// most is what the nodes had of a flavor without all of them.
	most map[string]bins
}

type rival struct {
	node  quota.NodeID
	share quota.Share
}

func newFairness(a *admission) *fairness {
	return &fairness{admission: a, lists: map[family]*holdings{}}
}

// of lists what tenants hold of the flavor, and of all that draw on the same quota.
func (f *fairness) of(tenant quota.NodeID, flavor quota.FlavorID) *holdings {
	key := family{f.books.used.Root(tenant), f.books.base[flavor]}
	if h := f.lists[key]; h != nil {
		return h
	}
	h := &holdings{lowest: map[quota.NodeID]int32{}, lent: map[quota.NodeID]bool{}, version: -1, most: map[string]bins{}}
	f.lists[key] = h
	for _, l := range f.loans {
		f.addLoan(h, key, l)
	}
	order := make([]int, len(h.held))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int {
		a, b := &h.held[x], &h.held[y]
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), b.Since.Compare(a.Since), cmp.Compare(a.Name, b.Name))
	})
	held, loans := make([]quota.Held, len(order)), make([]*loan, len(order))
	for to, from := range order {
		held[to], loans[to] = h.held[from], h.loans[from]
	}
	h.held, h.loans = held, loans
	return h
}

// addLoan lists the loan if it is one of the family, and if something would come free
// for others without it.
func (f *fairness) addLoan(h *holdings, key family, l *loan) {
	if l.ending || len(l.Grants) == 0 {
		return
	}
	tenant, flavor, ok := f.books.find(l.Borrower, l.Grants[0].Flavor)
	if !ok || f.books.base[flavor] != key.flavor || f.books.used.Root(tenant) != key.node {
		return
	}
	var units int64
	for _, g := range l.Grants {
		if g.Flavor != l.Grants[0].Flavor {
			return
		}
		// What a service gets back that lends nothing new, it keeps.
		if from := f.byName[g.Lender]; from == nil || from.relends {
			units += g.Count
		}
	}
	if units <= 0 {
		return
	}
	_, spent := f.history.spent(l.JobUID, f.pol)
	h.held = append(h.held, quota.Held{
		Name: l.Name, Tenant: tenant, Flavor: flavor, Units: quota.Amount(units), Own: !l.lent,
		// Whoever was stopped too often already is spared as well.
		Young:    spent || f.now.Sub(l.Since) < f.pol.MinimumLoan,
		Priority: l.Priority, Since: l.Since,
	})
	h.loans = append(h.loans, l)
	low, known := h.lowest[tenant]
	if !known || l.Priority < low {
		h.lowest[tenant] = l.Priority
	}
	if l.lent {
		h.lent[tenant] = true
	}
}

// could reports whether jobs of the tenant might take something back. It may say yes
// where they cannot, not no where they can.
func (f *fairness) could(tenant quota.NodeID, flavor quota.FlavorID) bool {
	return f.chance(tenant, flavor, 1, f.line.top[f.books.at(tenant, flavor)]) != none
}

// chance is on what grounds something might be taken back.
type chance int8

const (
	none chance = iota
	byShare
	byRight // within a quota, or from the same tenant
)

func (f *fairness) chance(tenant quota.NodeID, flavor quota.FlavorID, units int64, priority int32) chance {
	h := f.of(tenant, flavor)
	if len(h.held) == 0 {
		return none
	}
	if low, known := h.lowest[tenant]; known && low < priority {
		return byRight
	}
	if len(h.lent) == 0 || len(h.lent) == 1 && h.lent[tenant] {
		return none
	}
	soon := f.books.soon
	f.flags = soon.BorrowsWith(tenant, flavor, quota.Amount(units), f.flags)
	for _, borrows := range f.flags[:max(len(f.flags)-1, 0)] {
		if !borrows {
			return byRight
		}
	}
	if len(f.pol.FairPreemption) > 0 && f.behind(h, tenant, flavor, units) {
		return byShare
	}
	return none
}

// Searches for what could be taken for fairness are long, and where they find nothing
// they would find nothing in every decision. So the first jobs are looked at in each,
// and of the others now these and now those.
const (
	firstSearches = 16
	mostSearches  = 32
	searchTurns   = 16
)

// turn reports whether the job may search for what it could take for fairness.
func (f *fairness) turn(uid string) bool {
	if f.searches >= mostSearches {
		return false
	}
	if f.searches >= firstSearches {
		sum := fnv.New32a()
		_, _ = sum.Write([]byte(uid)) // never fails
		if int64(sum.Sum32()%searchTurns) != (f.number%searchTurns+searchTurns)%searchTurns {
			return false
		}
	}
	f.searches++
	return true
}

// behind reports whether some neighbour of the tenant, or of a cohort above it, has a
// larger share than it would have with the units.
func (f *fairness) behind(h *holdings, tenant quota.NodeID, flavor quota.FlavorID, units int64) bool {
	soon := f.books.soon
	f.rank(h)
	f.buf = soon.SharesWith(tenant, flavor, quota.Amount(units), f.buf)
	n := tenant
	for _, share := range f.buf {
		for _, r := range h.rivals[soon.Parent(n)] {
			if r.share > share && r.node != n {
				return true
			}
		}
		n = soon.Parent(n)
	}
	return false
}

// rank finds the rivals in the books as they are.
func (f *fairness) rank(h *holdings) {
	if h.version == f.books.version {
		return
	}
	h.version, h.rivals = f.books.version, map[quota.NodeID][2]rival{}
	soon := f.books.soon
	seen := map[quota.NodeID]bool{}
	for i := range h.held {
		if h.held[i].Own || h.held[i].Young || h.held[i].Units <= 0 {
			continue
		}
		for n := h.held[i].Tenant; soon.Parent(n) != quota.None && !seen[n]; n = soon.Parent(n) {
			seen[n] = true
			up := soon.Parent(n)
			two := h.rivals[up]
			if r := (rival{n, soon.Share(n)}); r.share > two[0].share {
				two = [2]rival{r, two[0]}
			} else if r.share > two[1].share {
				two[1] = r
			}
			h.rivals[up] = two
		}
	}
}

// takeBackFor asks back what the job needs, if it may.
func (a *admission) takeBackFor(j *ask) (asked bool, reason, message string) {
	f := a.fairness
	if !a.mayAsk(j.UID) {
		return false, "", ""
	}
	awaits := quota.Amount(j.need) <= a.books.soon.NominalRoom(j.tenant, j.flavor) && a.comesFree(j)
	h := f.of(j.tenant, j.flavor)
	if !awaits {
		grounds := f.chance(j.tenant, j.flavor, j.need, j.Priority)
		if grounds == none || !h.couldHold(a.decision, j) || grounds == byShare && !f.turn(j.UID) {
			return false, "", ""
		}
	}
	if !stand(a, a.guards.concern(a, j), j, nil, []shape{{j.UnitsPerPod, j.Pods}}) {
		return false, "", ""
	}
	victims, causes, ok := a.books.soon.TakeBack(quota.Claim{
		Tenant: j.tenant, Flavor: j.flavor, Units: quota.Amount(j.need), Priority: j.Priority, TakenBack: j.Attempt > 0,
	}, h.held, a.pol.FairPreemption, newRoomSearch(a.decision, j, h).fits)
	if !ok || len(victims) == 0 && !awaits {
		return false, "", ""
	}
	if len(victims) > 0 {
		a.askBack(j, h, victims, causes)
	}
	a.keepFor(j)
	reason, message = waitsForReturn(j)
	if len(victims) == 0 {
		message = fmt.Sprintf("%s; what it waits for is coming free", j.wish())
	}
	return true, reason, message
}

// couldHold reports whether the nodes had room for the gang if all were taken back. It
// may say yes where some has been asked back since it first looked.
func (h *holdings) couldHold(d *decision, j *ask) bool {
	p := d.pool(j.Flavor)
	most, known := h.most[j.Flavor]
	if !known {
		r := newRoomSearch(d, j, h)
		all := make([]int, 0, len(h.loans))
		for i := range h.loans {
			if h.held[i].Units > 0 {
				all = append(all, i)
			}
		}
		r.fits(all)
		most = r.bins
		h.most[j.Flavor] = most
	}
	return most.fits(with(p.claims, shape{j.UnitsPerPod, j.Pods}))
}

// comesFree: the job fits once what ends has gone, and something that it could use
// still has to.
func (a *admission) comesFree(j *ask) bool {
	b, p := a.books, a.pool(j.Flavor)
	need := quota.Amount(j.need)
	ends := b.used.Available(j.tenant, j.flavor) < need || slices.ContainsFunc(p.rooms, func(r room) bool { return r.soon > r.free })
	return ends && b.soon.Available(j.tenant, j.flavor) >= need && p.soon.fits(with(p.claims, shape{j.UnitsPerPod, j.Pods}))
}

var quotaReasons = map[quota.Cause][2]string{
	quota.OwnerWants: {ReasonOwnerWants, "units within another tenant's nominal quota are wanted back"},
	quota.FairShare:  {ReasonFairShare, "a tenant with a smaller share wants the units"},
	quota.Outranked:  {ReasonOutranked, "a job of the same tenant with a higher priority wants its quota"},
}

// askBack asks for the victims on behalf of the job, and counts them as coming free.
func (a *admission) askBack(j *ask, h *holdings, victims []int, causes []quota.Cause) {
	a.requests.made++
	a.requests.at[j.UID], a.requests.pending[j.UID] = a.now, true
	id := fmt.Sprintf("r-%d-%d-q%d", a.in.Epoch, a.number, a.requests.made)
	for n, i := range victims {
		l, why := h.loans[i], quotaReasons[causes[n]]
		a.takeBack(l, &Action{
			ReclaimBy: a.now.Add(min(a.graceOf(l, nil), max(a.pol.QuotaGrace, 0))),
			ReclaimID: id, ReclaimedFor: j.UID, Reason: why[0], Message: why[1],
		})
		a.history.add(l.JobUID, l.Since, a.now)
		a.giveBack(l)
		a.comesBack(a.books.soon, l, 1)
		h.held[i].Units = 0
	}
	a.books.version++
}

// roomSearch answers whether the gang has room once some loans are gone.
type roomSearch struct {
	*decision
	pool  *pool
	loans []*loan
	want  []shape
	bins  bins
	soon  []int64 // by room
	out   []bool  // by loan: gone
	mark  []int   // by loan: the question in which it was last named
	asked int
}

func newRoomSearch(d *decision, j *ask, h *holdings) *roomSearch {
	p := d.pool(j.Flavor)
	r := &roomSearch{
		decision: d, pool: p, loans: h.loans, want: with(p.claims, shape{j.UnitsPerPod, j.Pods}),
		bins: slices.Clone(p.soon), soon: make([]int64, len(p.rooms)),
		out: make([]bool, len(h.loans)), mark: make([]int, len(h.loans)),
	}
	for i := range p.rooms {
		r.soon[i] = p.rooms[i].soon
	}
	return r
}

// fits moves only the loans that changed sides since the last question.
func (r *roomSearch) fits(victims []int) bool {
	r.asked++
	for _, v := range victims {
		r.mark[v] = r.asked
		if !r.out[v] {
			r.move(v, 1)
		}
	}
	for v, out := range r.out {
		if out && r.mark[v] != r.asked {
			r.move(v, -1)
		}
	}
	return r.bins.fits(r.want)
}

func (r *roomSearch) move(v int, sign int64) {
	r.out[v] = sign > 0
	for _, g := range r.loans[v].Grants {
		if g.Flavor != r.pool.flavor {
			continue
		}
		if i, ok := r.pool.index[g.Node]; ok {
			r.bins.shift(r.soon[i], r.soon[i]+sign*g.Count, 1)
			r.soon[i] += sign * g.Count
		}
	}
}
