package audit

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// judgeNode checks that the pods bound to a node fit on it.
func (a *auditor) judgeNode(node string, now time.Time) {
	had, known := a.cluster.capacity[node]
	if !known {
		return
	}
	capacity := had.within(a.opts.Settle, now)
	units, names := int64(0), []string(nil)
	for _, p := range a.cluster.onNode[node] {
		units += p.units
		names = append(names, p.name)
	}
	if units > capacity {
		slices.Sort(names)
		a.violate(1, now, "node %s has %d units, its pods hold %d: %s", node, capacity, units, strings.Join(names, " "))
	}
}

// bound reports whether the pod has just got its node.
func (c podChange) bound() bool {
	return c.after.node != "" && (c.before == nil || c.before.node == "")
}

// gaveUp reports whether a pod that waited does so no more and has no node.
func (c podChange) gaveUp() bool {
	b := c.before
	return b != nil && b.waits() && !b.initial && (c.after == nil || c.after.node == "" && !c.after.waits())
}

func (a *auditor) judgePod(c podChange, e event) {
	if c.gaveUp() {
		a.wait(c.before, e.received)
	}
	p := c.after
	if p == nil {
		return
	}
	bound := c.bound()
	if bound {
		a.judgeNode(p.node, e.received)
	}
	if c.before == nil && a.burst != nil {
		a.owe(a.burst, p)
	}
	if p.online {
		if bound && !p.initial {
			a.wait(p, e.received)
		}
		return
	}
	if bound && !e.initial {
		a.judgeLoanOf(p, e.received)
	}
	a.judgeStop(c.before, p, e.received)
}

// judgeStop notes that a training pod is made to stop.
func (a *auditor) judgeStop(before, p *pod, now time.Time) {
	if p.terminating && !p.ended && p.node != "" && (before == nil || !before.terminating) {
		a.report.EvictedPods++
	}
	if p.disrupted && (before == nil || !before.disrupted) {
		a.takeBack(p, now)
	}
}

// wait notes how long an online pod waited, until it was bound or given up.
func (a *auditor) wait(p *pod, now time.Time) {
	wait := now.Sub(p.created)
	a.report.Waits = append(a.report.Waits, wait)
	a.judgeWait(p, wait, now)
}

func (a *auditor) judgeWait(p *pod, wait time.Duration, now time.Time) {
	if wait <= a.opts.MaxGrace+a.opts.Slack || a.waited[p.uid] {
		return
	}
	a.waited[p.uid] = true
	a.violate(3, now, "online pod %s has waited %s, more than the grace of %s and %s", p.name, wait.Round(time.Millisecond), a.opts.MaxGrace, a.opts.Slack)
}

// judgeLoanOf checks that a training pod was bound where its loan says.
func (a *auditor) judgeLoanOf(p *pod, now time.Time) {
	l := a.cluster.byJob[p.job]
	if l == nil {
		if p.queued {
			a.violate(9, now, "training pod %s is bound to %s without an open loan", p.name, p.node)
		}
		return // within its tenant's nominal quota, which overQuota looks at
	}
	granted, held := int64(0), int64(0)
	for _, g := range l.grants {
		if g.Node == p.node {
			granted += g.Count
		}
	}
	for _, other := range a.cluster.onNode[p.node] {
		if other.job == p.job && !other.terminating {
			held += other.units
		}
	}
	switch {
	case granted == 0:
		a.violate(9, now, "training pod %s is bound to %s, which its loan %s does not name", p.name, p.node, l.name)
	case held > granted:
		a.violate(9, now, "training pod %s is bound to %s, where the job now holds %d units and its loan %s grants %d", p.name, p.node, held, l.name, granted)
	}
}

func (a *auditor) judgeLoan(c loanChange, e event) {
	if c.opened {
		a.report.Loans++
	}
	if c.other != "" {
		a.violate(1, e.received, "the job of loan %s has another open loan, %s", c.loan.name, c.other)
	}
	if c.asked {
		a.report.Asked = append(a.report.Asked, c.loan.name)
	}
	if l := c.loan; l != nil && l.reclaimed && !l.counted {
		l.counted = true
		a.report.Reclaimed++
		if a.burst != nil {
			a.burst.others[l.name] = l
		}
	}
}

// lasting checks what may be so for a moment, but not for longer.
func (a *auditor) lasting(now time.Time) {
	a.integrate(now)
	a.closeBurst(now)
	for _, p := range a.cluster.pods {
		if p.waits() && !p.initial {
			a.judgeWait(p, now.Sub(p.created), now)
		}
	}
	a.overGranted(now)
	a.overQuota(now)
	a.partialGangs(now)
}

// overGranted finds nodes on which online pods, loans and other pods together
// have more than there is.
func (a *auditor) overGranted(now time.Time) {
	granted := map[string]int64{}
	for _, l := range a.cluster.loans {
		if l.reclaimed {
			continue
		}
		for _, g := range l.grants {
			granted[g.Node] += g.Count
		}
	}
	for node, capacity := range a.cluster.nodes {
		held := granted[node]
		for _, p := range a.cluster.onNode[node] {
			if l := a.cluster.byJob[p.job]; p.online || l == nil || l.reclaimed {
				held += p.units
			}
		}
		if lasts(a.over, node, held > capacity, now, a.opts.Settle) {
			a.violate(1, now, "node %s has %d units, online pods and loans hold %d for more than %s", node, capacity, held, a.opts.Settle)
		}
	}
}

// partialGangs finds jobs that hold units with a part of their gang only.
func (a *auditor) partialGangs(now time.Time) {
	live, done := map[types.UID]int{}, map[types.UID]int{}
	for _, p := range a.cluster.pods {
		switch {
		case p.online || p.job == "":
		case p.succeeded:
			done[p.job]++
		case p.holds() && !p.terminating:
			live[p.job]++
		}
	}
	for job := range a.partial {
		if live[job] == 0 {
			delete(a.partial, job)
		}
	}
	for job, n := range live {
		l := a.cluster.byJob[job]
		if l == nil {
			continue // judged when they were bound
		}
		if lasts(a.partial, job, n+done[job] < l.pods, now, a.opts.Settle) {
			a.violate(5, now, "the job of loan %s holds units with %d of its %d pods for more than %s", l.name, n, l.pods, a.opts.Settle)
		}
	}
}

// lasts reports, once, that something has been so for longer than settle.
func lasts[K comparable](seen map[K]since, key K, is bool, now time.Time, settle time.Duration) bool {
	if !is {
		delete(seen, key)
		return false
	}
	s, known := seen[key]
	if !known {
		seen[key] = since{at: now}
		return false
	}
	if s.reported || now.Sub(s.at) <= settle {
		return false
	}
	s.reported = true
	seen[key] = s
	return true
}
