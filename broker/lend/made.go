package lend

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Slices that were made of a lender's are lent apart from others: to the job that they were
// made for, or else to the next one that wants such, and whole.

// doomed says why a change is to be undone whoever waits for what was made. awaited: its job
// waits for it.
func (d *decision) doomed(r *reshape, awaited bool) (reason, message string) {
	l := r.lender
	if !d.mayKeep(r) {
		return ReasonReshapeUnused, "its lender lends no slices in another shape any more"
	}
	if p := d.pools[r.From]; p != nil {
		for _, o := range p.lenders {
			if n := int64(len(o.Pending)); n > 0 && p.soon.slots(max(o.UnitsPerPod, 1)) < n {
				return ReasonLenderPodPending, "online pods of " + o.Name + " wait for the units"
			}
		}
	}
	if !l.open && !l.patient() && !(awaited && l.gate == ReasonAboveLowWater) {
		return cmp.Or(l.gate, ReasonReshapeUnused), l.Name + " lends nothing new: " + l.why
	}
	return "", ""
}

// mayKeep: its lender lends slices in another shape, and these draw on the same quota.
func (d *decision) mayKeep(r *reshape) bool {
	l := r.lender
	return l != nil && l.MIG != nil && l.MIG.Reshape && !l.Advise && l.Flavor == r.From && d.books.akin(r.From, r.To)
}

// patient: the lender is closed only because it is not known yet, or not known any more,
// whether it may lend, or because pods wait that have room.
func (l *lender) patient() bool {
	switch l.gate {
	case ReasonLenderPodPending, ReasonDwellNotMet, ReasonCooldownActive, ReasonBrokerStarted, ReasonLoadUnknown, ReasonLoadSampleStale, ReasonLoadCoverageLow, ReasonPreparing:
		return true
	}
	return false
}

// ready: what was made can be lent now.
func (d *decision) ready(r *reshape) bool {
	l := r.lender
	return r.State == ReshapeMade && r.broken == "" && r.holder == nil && r.back == nil && d.mayKeep(r) && l.open && !l.short &&
		l.MaxGrace > r.undoing() &&
		r.node.Schedulable && r.node.Unlendable == "" && r.idle()
}

// barred: what was made is there, and cannot be lent for another reason than that its lender
// has to wait a while until it may lend.
func (d *decision) barred(r *reshape) bool {
	if r.State != ReshapeMade || r.begun || r.broken != "" || r.holder != nil || r.goesBack() || r.lender == nil || d.ready(r) {
		return false
	}
	switch r.lender.gate {
	case ReasonDwellNotMet, ReasonCooldownActive, ReasonBrokerStarted:
		return false
	}
	return true
}

// useless: what was made could not be lent for so long that nobody is to wait for it.
func (d *decision) useless(r *reshape) bool {
	since := d.reshapes.memory[r.GPU].IdleSince
	return !since.IsZero() && d.now.Sub(since) > r.late() && d.barred(r)
}

// lendMade admits the job on slices that were made, if such are there for the whole gang.
// An empty reason means that there are not.
func (a *admission) lendMade(t *trial) (reason, message string) {
	if a.reshapes == nil || t.UnitsPerPod != 1 {
		return "", ""
	}
	j := t.ask
	var fit []*reshape
	left := j.Pods
	for _, mine := range []bool{true, false} {
		for _, r := range a.reshapes.list {
			if r.To != j.Flavor || (r.JobUID == j.UID) != mine || !mine && !r.open || r.Made > left || !a.ready(r) || !a.sameTree(j, r.lender) {
				continue
			}
			fit = append(fit, r)
			left -= r.Made
		}
	}
	if left > 0 || len(fit) == 0 || !stand(a, t.before, entry{ask: j}) {
		return "", ""
	}
	return a.grantMade(j, fit)
}

// sameTree: the lender's tenant is in the job's tree of cohorts.
func (d *decision) sameTree(j *ask, l *lender) bool {
	id, _, ok := d.books.find(l.Tenant, l.Flavor)
	return ok && d.books.used.Root(id) == d.books.used.Root(j.tenant)
}

func (a *admission) grantMade(j *ask, fit []*reshape) (reason, message string) {
	act := Action{Reason: ReasonLent, MaxGrace: math.MaxInt64}
	l := &loan{Loan: &Loan{}, lent: true, number: -1}
	for _, r := range fit {
		act.MaxGrace = min(act.MaxGrace, r.lender.MaxGrace-r.undoing())
		act.Grants = append(act.Grants, Grant{r.Lender, r.node.Name, r.To, r.Made})
		l.lends = append(l.lends, Grant{r.Lender, r.node.Name, r.From, r.Count})
		l.undo = max(l.undo, r.undoing())
		r.holder, r.standIn = l, nil
	}
	slices.SortStableFunc(act.Grants, compareGrants)
	act.Grants = merged(act.Grants)
	l.made = act.Grants
	act.Message = fmt.Sprintf("%s of %s, made of %s", plural(j.need, "unit"), j.Flavor, madeOf(l.lends))
	if j.Grace > act.MaxGrace {
		act.Message += fmt.Sprintf("; when they are asked back its pods get %s, not their grace of %s", act.MaxGrace, j.Grace)
	}
	a.lendOn(j, act, l)
	return act.Reason, act.Message
}

// madeOf lists what slices were made of, and who lent it.
func madeOf(lends []Grant) string {
	sums := slices.Clone(lends)
	for i := range sums {
		sums[i].Node = ""
	}
	slices.SortStableFunc(sums, compareGrants)
	var parts []string
	for _, g := range merged(sums) {
		parts = append(parts, fmt.Sprintf("%s of %s lent by %s", plural(g.Count, "unit"), g.Flavor, g.Lender))
	}
	return strings.Join(parts, ", ")
}

// merged adds up sorted grants that differ only in their counts.
func merged(grants []Grant) []Grant {
	out := grants[:0]
	for _, g := range grants {
		if n := len(out); n > 0 && compareGrants(out[n-1], g) == 0 {
			out[n-1].Count += g.Count
			continue
		}
		out = append(out, g)
	}
	return out
}

// serveReshaped tries the jobs for which slices are made, before others, and keeps for
// each its quota until they are there.
func (a *admission) serveReshaped() {
	if a.reshapes == nil {
		return
	}
	groups := map[string][]*reshape{}
	var order []string
	for _, r := range a.reshapes.list {
		if r.broken != "" || r.goesBack() || r.holder != nil {
			continue
		}
		if slot, ok := a.line.find(r.JobUID); !ok || !a.line.considers(slot) {
			r.open = true
			continue
		}
		if groups[r.JobUID] == nil {
			order = append(order, r.JobUID)
		}
		groups[r.JobUID] = append(groups[r.JobUID], r)
	}
	slices.SortStableFunc(order, func(x, y string) int {
		return cmp.Or(groups[x][0].Since.Compare(groups[y][0].Since), cmp.Compare(x, y))
	})
	jobs := make([]*ask, len(order))
	for n, uid := range order {
		slot, _ := a.line.find(uid)
		jobs[n] = a.line.ask(int(slot))
		a.books.promise(jobs[n], jobs[n].need, 0)
	}
	for n, j := range jobs {
		a.books.promise(j, -j.need, 0)
		a.moved()
		a.serveMade(j, groups[order[n]])
	}
	a.moved()
}

// serveMade tries one of them.
func (a *admission) serveMade(j *ask, group []*reshape) {
	if over, _ := a.overLimit(j.Draws); over == "" && !a.isLent(a.line.loanName(j)) {
		if v, reason, message := a.try(j); v == admitted {
			a.line.want[j.slot] = served
			a.line.tell(j.slot, outcome{reason, message})
			return
		}
		if a.worthWaiting(j, group) {
			for _, r := range group {
				r.kept = true
			}
			a.books.promise(j, j.need, 0)
			a.line.want[j.slot] = waits
			a.line.behind[j.queue] = a.line.behind[j.queue] || !a.line.queues[j.queue].Backfill
			a.line.tell(j.slot, outcome{ReasonReshaping, reshaping(j, group)})
			return
		}
	}
	for _, r := range group {
		r.open = true
	}
}

// worthWaiting: the job will be able to have what is made for it, as far as can be told.
func (a *admission) worthWaiting(j *ask, group []*reshape) bool {
	var made int64
	pending := false
	for _, r := range group {
		if reason, _ := a.doomed(r, true); reason != "" || a.useless(r) {
			continue
		}
		made += r.Made
		pending = pending || !a.ready(r) && r.node.Unlendable == ""
	}
	if _, spent := a.history.spent(j.UID, a.now, a.pol); spent || a.available(j) < j.need {
		return false
	}
	if made < j.Pods {
		// Something of it was refused, or has gone back.
		found, _, _ := a.make(j, made)
		return found
	}
	return pending
}

// reshaping is what a job reads while slices are made for it.
func reshaping(j *ask, group []*reshape) string {
	nodes := make([]string, 0, len(group))
	for _, r := range group {
		nodes = append(nodes, fmt.Sprintf("%s (of %s of %s lent by %s)", r.node.Name, plural(r.Count, "unit"), r.From, r.Lender))
	}
	return shaping(j, nodes)
}

func shaping(j *ask, nodes []string) string {
	slices.Sort(nodes)
	what := "a GPU is"
	if len(nodes) > 1 {
		what = fmt.Sprintf("%d GPUs are", len(nodes))
	}
	return fmt.Sprintf("%s; %s being reshaped for it on %s", j.wish(), what, strings.Join(slices.Compact(nodes), ", "))
}
