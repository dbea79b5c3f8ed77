package lend

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/quota"
	"pgregory.net/rapid"
)

// drawPromises makes a cluster in the middle of many requests: jobs for which units were
// asked back of guests, of services' borrowers and of slices, some of which have come back.
func drawPromises(r dice) (Snapshot, State) {
	in := Snapshot{Now: noon, Epoch: 1, Flavors: []Flavor{{Name: "h100"}, {Name: "h100-1g", SliceOf: "h100", Compute: 1, Memory: 1}}}
	state := State{At: noon.Add(-time.Second), Since: noon.Add(-time.Hour)}
	flavors := []string{"a100", "h100", "h100", "h100-1g"}
	for i := range 3 + r.IntN(8) {
		n := Node{Name: fmt.Sprintf("n%02d", i), Schedulable: r.IntN(9) > 0}
		for _, f := range slices.Compact(slices.Clone(flavors)) {
			n.Units = append(n.Units, Units{Flavor: f, Capacity: 8, Other: pick(r, 0, 0, r.upTo(8))})
		}
		in.Nodes = append(in.Nodes, n)
	}
	quotas := func() (out []Quota) {
		for _, f := range slices.Compact(slices.Clone(flavors)) {
			out = append(out, Quota{Flavor: f, Nominal: pick(r, 0, r.upTo(24)), BorrowingLimit: drawLimit(r), LendingLimit: drawLimit(r)})
		}
		return out
	}
	for _, name := range []string{"all", "left", "right"} {
		c := Cohort{Name: name, Parent: "all", Quotas: quotas()}
		if name == "all" {
			c.Parent = ""
		}
		in.Cohorts = append(in.Cohorts, c)
	}
	for i := range 3 + r.IntN(4) {
		t := Tenant{Name: fmt.Sprintf("t%d", i), Cohort: pick(r, "", "all", "left", "left", "right"), Quotas: quotas()}
		in.Tenants = append(in.Tenants, t)
		in.Queues = append(in.Queues, Queue{Name: t.Name + "/q", Tenant: t.Name, Backfill: r.IntN(4) > 0})
	}
	in.Lenders = []Lender{{
		Name: "online/s", Tenant: "t0", Flavor: "h100", Owned: r.upTo(16), UnitsPerPod: 1, LowWater: 0.3, HighWater: 0.7, MaxGrace: time.Minute,
		Load: Load{Known: r.yes(), ObservedAt: noon, Coverage: 1, Slots: 10},
	}}
	for i := range 3 + r.IntN(14) {
		j := Job{
			Name: fmt.Sprintf("j%02d", i), UID: fmt.Sprintf("j%02d", i), Tenant: pick(r, in.Tenants...).Name, Priority: int32(r.IntN(3)),
			Created: noon.Add(-time.Duration(r.IntN(3600)) * time.Second), Flavor: pick(r, flavors...), Pods: 1 + r.upTo(2), UnitsPerPod: pick(r, chain...),
		}
		if j.Flavor == "h100-1g" {
			j.UnitsPerPod = 1
		}
		j.Queue = j.Tenant + "/q"
		in.Jobs = append(in.Jobs, j)
		if r.IntN(4) > 0 {
			state.Jobs = append(state.Jobs, JobState{UID: j.UID, Asked: noon.Add(-time.Duration(r.IntN(20)) * time.Minute), Expecting: true})
		}
	}
	for i := range r.IntN(20) {
		l := Loan{
			Name: fmt.Sprintf("l%02d", i), Job: fmt.Sprintf("run%02d", i), JobUID: fmt.Sprintf("run%02d", i), Borrower: pick(r, in.Tenants...).Name,
			Pods: 1, Live: 1, Bound: 1, Since: noon.Add(-time.Hour),
		}
		l.Queue = l.Borrower + "/q"
		for range 1 + r.IntN(2) {
			l.Grants = append(l.Grants, Grant{
				Lender: pick(r, "", CohortLender("all"), "online/s"), Node: pick(r, in.Nodes...).Name, Flavor: pick(r, flavors...), Count: 1 + r.upTo(7),
			})
		}
		if r.IntN(3) > 0 {
			l.Reclaiming, l.ReclaimBy, l.ReclaimID = true, noon.Add(time.Minute), "r"
			l.ReclaimedFor = pick(r, "", pick(r, in.Jobs...).UID, pick(r, in.Jobs...).UID)
		}
		in.Loans = append(in.Loans, l)
	}
	return in, state
}

// beginAdmission is a decision on the way, up to where jobs are admitted.
func beginAdmission(in Snapshot, state State, pol Policy) *admission {
	d := begin(in, state, pol)
	d.followLoans()
	d.drain()
	d.countRooms()
	d.assess()
	d.reclaim()
	d.reserve()
	d.book()
	return d.beginAdmission()
}

// unpromisedAnew is unpromised, worked out without anything that is remembered.
func (d *decision) unpromisedAnew(j *ask) quota.Amount {
	soon := d.books.soon.Clone()
	least, came := soon.Available(j.tenant, j.flavor), false
	for n := len(d.requests.kept) - 1; n >= 0; n-- {
		p := &d.requests.kept[n]
		for _, l := range p.back {
			d.comesBack(soon, l, -1)
		}
		if p.held {
			soon.Use(p.tenant, p.flavor, -quota.Amount(p.need))
		}
		if came = came || len(p.back) > 0; came && n <= d.requests.serving {
			came, least = false, min(least, soon.Available(j.tenant, j.flavor))
		}
	}
	return least
}

// What is remembered of promises is what it would be if it was worked out each time, in
// every order of questions, while jobs are admitted, ask for units and wait on.
func TestPromisesAreRemembered(t *testing.T) {
	asked, less, met, worlds := 0, 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		worlds++
		r := roll(t)
		in, state := drawPromises(r)
		a := beginAdmission(in, state, DefaultPolicy())
		var jobs []*ask
		for _, j := range in.Jobs {
			if slot, ok := a.line.find(j.UID); ok && !a.line.briefs[slot].refused {
				jobs = append(jobs, a.line.ask(int(slot)))
			}
		}
		check := func(when string) {
			serving := a.requests.serving
			for range r.IntN(4) {
				if len(jobs) == 0 {
					break
				}
				if r.IntN(8) == 0 {
					a.requests.serving = r.IntN(len(a.requests.kept) + 1)
				}
				j := pick(r, jobs...)
				got, want := a.unpromised(j), a.unpromisedAnew(j)
				if got != want {
					t.Fatalf("%s, serving %d of %d, %s of tenant %s could have %d, remembered is %d: %s",
						when, a.requests.serving, len(a.requests.kept), j.Name, j.Tenant, want, got, encode(in))
				}
				asked++
				if a.requests.awaited {
					met++
				}
				if want < a.books.soon.Available(j.tenant, j.flavor) {
					less++
				}
				a.requests.serving = serving
			}
		}
		for n := range a.keepAsked() {
			check("before a promise")
			a.servePromised(n)
			check("after it")
		}
		a.requests.serving = len(a.requests.kept)
		for _, j := range jobs {
			if a.line.considers(int32(j.slot)) {
				v, reason, message := a.consider(j)
				a.line.tell(j.slot, outcome{reason, message})
				check(fmt.Sprintf("after verdict %d", v))
			}
		}
	})
	if less < worlds/4 || met < asked/4 {
		t.Errorf("of %d answers in %d worlds %d were about promises and %d told anything: little is shown", asked, worlds, met, less)
	}
}

// All promises are gone through for each tenant that asks and for each job that is admitted,
// and not for each question.
func TestPromisesAreSeldomGoneThrough(t *testing.T) {
	for name, c := range map[string]struct {
		of   int
		free int64
	}{"nothing is admitted": {0, 2}, "half is admitted": {2, 8}} {
		const tenants = 10
		for _, promises := range []int{100, 400} {
			in, state := promising(promises, tenants, c.of, c.free)
			a := beginAdmission(in, state, DefaultPolicy())
			a.serveAsked()
			a.line.pass(a)
			if (c.of > 0) != (len(a.lends) >= promises/2) {
				t.Errorf("%s: %d are, of %d", name, len(a.lends), promises)
			}
			most := promises * (3*tenants + len(a.lends)/2)
			if steps := a.requests.stages.steps; steps < promises || steps > most {
				t.Errorf("%s: %d promises were gone by %d times in all, want from %d to %d", name, promises, steps, promises, most)
			}
		}
	}
}
