package lend

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// One that has decided before decides to the byte as one that has not, whatever
// happened between the snapshots.
func TestDeciderKeepsNothingThatMatters(t *testing.T) {
	var jobs, admitted, refused int
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		w := drawWorld(r)
		w.limits = []Limit{{Name: "l", Left: 6, Most: 6, Message: "six"}, {Name: "m", Left: 20, Most: 20, Message: "twenty"}}
		kept, brief := new(Decider), &Decider{Brief: true}
		var last Plan
		var lastNext State
		var lastText, lastState string
		for range rapid.IntRange(5, 40).Draw(t, "ticks") {
			w.disturb(r)
			w.reorder(r)
			w.step(time.Duration(pick(r, 1, 5, 5, 10, 30, 700)) * time.Second)
			in := w.snapshot()
			in.Jobs = r.mangled(in.Jobs)
			for i := range in.Loans { // which the world keeps
				in.Loans[i].Grants = slices.Clone(in.Loans[i].Grants)
			}
			plan, next := Decide(in, w.state, w.policy)
			again, nextAgain := kept.Decide(in, w.state, w.policy)
			if a, b := encode(plan), encode(again); a != b {
				t.Fatalf("one without a past:\n%s\none with a past:\n%s", a, b)
			}
			if a, b := encode(next), encode(nextAgain); a != b {
				t.Fatalf("state of one without a past:\n%s\nof one with a past:\n%s", a, b)
			}
			checkBrief(t, brief, in, w.state, w.policy, plan, next)
			if now := encode(last); lastText != "" && now != lastText {
				t.Fatalf("the plan before was:\n%s\nand became:\n%s", lastText, now)
			}
			if now := encode(lastNext); lastState != "" && now != lastState {
				t.Fatalf("the state before was:\n%s\nand became:\n%s", lastState, now)
			}
			last, lastNext, lastText, lastState = again, nextAgain, encode(again), encode(nextAgain)
			jobs += len(plan.Waiting)
			admitted += len(actions(plan, ActionLend))
			refused += len(plan.Waiting) - len(actions(plan, ActionLend))
			in.scribble()
			w.state = nextAgain
			for _, a := range plan.Actions {
				if w.training(a.Job) != nil && (a.Kind == ActionLend || w.loanOf(a.JobUID) != nil) {
					w.apply(a)
				}
			}
		}
	})
	if jobs == 0 || admitted == 0 || refused == 0 {
		t.Errorf("the worlds showed %d waiting jobs, %d admissions and %d refusals", jobs, admitted, refused)
	}
}

// checkBrief checks that a brief plan does what the whole one does, and that as much is
// remembered.
func checkBrief(t interface{ Fatalf(string, ...any) }, k *Decider, in Snapshot, prev State, pol Policy, plan Plan, next State) {
	brief, nextBrief := k.Decide(in, prev, pol)
	want := Plan{Actions: plan.Actions, Lenders: plan.Lenders, Reshapes: plan.Reshapes, Scales: plan.Scales}
	for _, v := range plan.Verdicts {
		if v.Kind == SubjectLender {
			want.Verdicts = append(want.Verdicts, Verdict{Kind: v.Kind, Subject: v.Subject, Reason: v.Reason})
		}
	}
	if a, b := encode(want), encode(brief); a != b {
		t.Fatalf("what a plan does:\n%s\na brief one:\n%s", a, b)
	}
	if a, b := encode(next), encode(nextBrief); a != b {
		t.Fatalf("the state:\n%s\nafter a brief plan:\n%s", a, b)
	}
}

// reorder changes queues, tenants and what jobs draw.
func (w *world) reorder(r dice) {
	q := &w.queues[r.IntN(len(w.queues))]
	switch r.IntN(16) {
	case 0:
		q.Paused = !q.Paused
	case 1:
		q.Drain = !q.Drain
	case 2:
		q.Backfill = !q.Backfill
	case 3:
		q.FIFO = !q.FIFO
	case 4:
		q.FairShare, q.Used = !q.FairShare, r.upTo(5000)
	case 5:
		q.Used = r.upTo(5000)
	case 6:
		t := &w.tenants[r.IntN(len(w.tenants))]
		t.Quotas[0].Nominal = r.upTo(20)
	case 7:
		w.limits[r.IntN(2)].Left = r.upTo(20)
	case 8:
		w.flavors = pick(r, nil, []Flavor{{Name: "h100-1g", SliceOf: "h100", Compute: 1, Memory: 1}})
	case 9:
		t := &w.tenants[r.IntN(len(w.tenants))]
		limit := r.upTo(20)
		t.Quotas[0].BorrowingLimit = pick(r, nil, &limit)
	case 10:
		t := &w.tenants[r.IntN(len(w.tenants))]
		limit := r.upTo(20)
		t.Quotas[0].LendingLimit = pick(r, nil, &limit)
	case 11: // as it is, but at the same place
		if n := w.tenants[r.IntN(len(w.tenants))].Quotas[0].BorrowingLimit; n != nil {
			*n = r.upTo(20)
		}
	case 12:
		t := &w.tenants[r.IntN(len(w.tenants))]
		weight := r.upTo(4)
		t.Weight = pick(r, nil, &weight)
	case 13:
		if len(w.cohorts) > 0 {
			c := &w.cohorts[r.IntN(len(w.cohorts))]
			c.Quotas = pick(r, nil, []Quota{{Flavor: "h100", Nominal: r.upTo(20)}})
		}
	}
	if len(w.jobs) == 0 {
		return
	}
	switch j := pick(r, w.jobs...); r.IntN(8) {
	case 0:
		j.Draws = []Draw{{Limit: pick(r, "l", "m"), Amount: r.upTo(4)}}
	case 1:
		j.Priority = int32(r.IntN(3))
	case 2:
		j.Problem = pick(r, nil, &Problem{Reason: "Odd", Message: "it is odd"})
	case 3:
		j.Queue = pick(r, w.queues...).Name
	case 4:
		j.Created = w.now.Add(-time.Duration(r.IntN(2000)) * time.Second)
	case 5:
		j.Grace = time.Duration(r.IntN(300)) * time.Second
	}
}

// mangled is the jobs as no gatherer would list them, now and then.
func (r dice) mangled(jobs []Job) []Job {
	switch {
	case len(jobs) == 0:
	case r.IntN(20) == 0:
		r.Shuffle(len(jobs), func(i, k int) { jobs[i], jobs[k] = jobs[k], jobs[i] })
	case r.IntN(20) == 0: // several of one UID
		jobs = append(jobs, pick(r, jobs...))
		jobs[0].UID = pick(r, jobs...).UID
	case r.IntN(20) == 0: // several of one name
		jobs[0].Name = pick(r, jobs...).Name
	case r.IntN(20) == 0:
		return nil
	}
	return jobs
}

// scribble writes over the snapshot, of which nothing may be kept.
func (in *Snapshot) scribble() {
	for i := range in.Jobs {
		j := &in.Jobs[i]
		for k := range j.Draws {
			j.Draws[k].Amount++
		}
		*j = Job{Name: "scribbled", Problem: j.Problem}
	}
	for i := range in.Queues {
		in.Queues[i] = Queue{Name: "scribbled"}
	}
	for i := range in.Tenants {
		in.Tenants[i] = Tenant{Name: "scribbled"}
	}
	for i := range in.Nodes {
		in.Nodes[i] = Node{Name: "scribbled"}
	}
	for i := range in.Loans {
		for k := range in.Loans[i].Grants {
			in.Loans[i].Grants[k] = Grant{Node: "scribbled"}
		}
		in.Loans[i] = Loan{Name: "scribbled"}
	}
	for i := range in.Lenders {
		in.Lenders[i] = Lender{Name: "scribbled"}
	}
}

// Snapshots that have nothing to do with each other leave no trace either.
func TestDeciderForgetsGarbage(t *testing.T) {
	kept, brief := new(Decider), &Decider{Brief: true}
	for seed := range uint64(2000) {
		r := dice{rand.New(rand.NewPCG(seed, 9))}
		in, prev, pol := garbage(r)
		plan, next := Decide(in, prev, pol)
		again, nextAgain := kept.Decide(in, prev, pol)
		if a, b := encode(plan), encode(again); a != b {
			t.Fatalf("seed %d: one without a past:\n%s\none with a past:\n%s", seed, a, b)
		}
		if a, b := encode(next), encode(nextAgain); a != b {
			t.Fatalf("seed %d: states differ:\n%s\n%s", seed, a, b)
		}
		checkBrief(t, brief, in, prev, pol, plan, next)
	}
}

// What is kept of jobs that have gone does not grow.
func TestDeciderForgetsTheGone(t *testing.T) {
	in := Snapshot{
		Now: noon, Tenants: []Tenant{{Name: "t", Quotas: []Quota{{Flavor: "h100"}}}},
		Queues: []Queue{{Name: "t/q", Tenant: "t", Backfill: true}}, Limits: []Limit{{Name: "l"}},
	}
	kept := new(Decider)
	for n := range 300 {
		in.Jobs = nil
		for i := range 20 {
			in.Jobs = append(in.Jobs, Job{
				Name: fmt.Sprintf("t/j-%05d-%02d", n, i), UID: fmt.Sprintf("u-%05d-%02d", n, i), Tenant: "t", Queue: "t/q",
				Flavor: "h100", Pods: 1, UnitsPerPod: 1, Draws: []Draw{{Limit: "l", Amount: int64(1 + 20*n + i)}},
			})
		}
		plan, _ := kept.Decide(in, State{}, DefaultPolicy())
		if len(plan.Waiting) != 20 {
			t.Fatalf("%d jobs wait", len(plan.Waiting))
		}
	}
	c := kept.crowd
	if len(c.briefs) > 100 || len(c.draws) > 1200 || len(c.loans) > 20 || c.index.Len() != 20 {
		t.Errorf("kept are %d slots, %d kinds of draws, %d names of loans and %d jobs in queues", len(c.briefs), len(c.draws), len(c.loans), c.index.Len())
	}
}
