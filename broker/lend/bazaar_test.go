package lend

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// bazaar is a world of training alone: tenants that share nodes by quota, and jobs
// that arrive, run for a while and end.
type bazaar struct {
	*world
	// longest is the longest time that any job runs.
	longest time.Duration
	// started is when each job was first admitted, ready when it began to wait.
	started map[string]time.Time
	jobsBy  map[string]*training
}

const beat = 30 * time.Second

// newBazaar makes nodes of 8 and tenants in one cohort, with a queue each. promised is
// how much of the units the tenants have as nominal quota; the cohort has the rest.
func newBazaar(r dice, nodes, tenants int, promised bool) *bazaar {
	m := &bazaar{world: newWorld(), longest: 10 * time.Minute, started: map[string]time.Time{}, jobsBy: map[string]*training{}}
	m.policy.MinimumLoan, m.policy.ReserveAfter = 2*time.Minute, 5*time.Minute
	for i := range nodes {
		m.nodes = append(m.nodes, Node{Name: fmt.Sprintf("n%02d", i), Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8}}})
	}
	left := int64(8 * nodes)
	for i := range tenants {
		t := Tenant{Name: fmt.Sprintf("t%d", i), Cohort: "all", Quotas: []Quota{{Flavor: "h100"}}}
		if promised {
			t.Quotas[0].Nominal = left / int64(tenants-i)
			left -= t.Quotas[0].Nominal
		}
		m.tenants = append(m.tenants, t)
		m.queues = append(m.queues, Queue{Name: t.Name + "/q", Tenant: t.Name, Backfill: true, FIFO: r.yes()})
	}
	m.cohorts = []Cohort{{Name: "all", Quotas: []Quota{{Flavor: "h100", Nominal: left}}}}
	return m
}

// add submits a gang.
func (m *bazaar) add(tenant string, pods, size int64, priority int32, runs time.Duration) *training {
	id := fmt.Sprintf("%04d", len(m.jobs))
	j := &training{runs: runs, Job: Job{
		Name: tenant + "/j" + id, UID: "u" + id, Tenant: tenant, Queue: tenant + "/q", Priority: priority, Created: m.now,
		Flavor: "h100", Pods: pods, UnitsPerPod: size,
	}}
	m.jobs = append(m.jobs, j)
	m.jobsBy[j.UID] = j
	return j
}

func (m *bazaar) addRandom(r dice, most int64) {
	size := pick(r, chain...)
	for size > most {
		size /= 2
	}
	pods := 1 + r.upTo(most/size-1)
	if r.IntN(3) > 0 {
		pods = min(pods, 2)
	}
	m.add(pick(r, m.tenants...).Name, pods, size, 0, beat+time.Duration(r.upTo(int64(m.longest-beat))))
}

// turn is one decision and the time until the next.
func (m *bazaar) turn() (Snapshot, Plan) {
	in, plan := m.decide()
	for _, a := range actions(plan, ActionLend) {
		if m.started[a.JobUID].IsZero() {
			m.started[a.JobUID] = m.now
		}
	}
	m.step(beat)
	return in, plan
}

// countAhead notes the jobs that wait before this one, by the time that they wait or,
// where they were taken back, by their age.
func (m *bazaar) countAhead(j *training, ahead map[string]bool) {
	for _, o := range m.jobs {
		before := !o.since().After(j.since()) || !o.Created.After(j.Created)
		if o != j && before && !o.finished && m.loanOf(o.UID) == nil {
			ahead[o.UID] = true
		}
	}
}

// TestEveryGangStarts: with k jobs that have waited longer, a gang that fits the
// cluster and its quota starts no later than the time after which it has a reservation
// and k+1 times the longest run, whatever arrives meanwhile. Either all borrow, or all
// are within what they were promised: then it takes twice as long at most.
func TestEveryGangStarts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		promised := r.yes()
		m := newBazaar(r, 2+r.IntN(4), 1+r.IntN(4), promised)
		most := int64(8 * len(m.nodes))
		if promised {
			most = m.tenants[0].Quotas[0].Nominal
		}
		m.policy.FairPreemption = nil
		crowded := 1 + r.IntN(4)
		for range 4 {
			m.addRandom(r, most)
		}
		ahead := map[string]map[string]bool{}
		for range rapid.IntRange(20, 150).Draw(t, "turns") {
			for range r.IntN(crowded) {
				if promised {
					m.addRandom(r, most)
				} else {
					m.addRandom(r, pick(r, 1, 2, most))
				}
			}
			m.turn()
			for _, j := range m.jobs {
				at := j.since().Add(m.policy.ReserveAfter)
				if !m.started[j.UID].IsZero() || m.now.Before(at) {
					continue
				}
				if ahead[j.UID] == nil {
					ahead[j.UID] = map[string]bool{}
				}
				m.countAhead(j, ahead[j.UID])
				// Besides, decisions must see that the last unit came free.
				k := time.Duration(len(ahead[j.UID]) + 1)
				if promised {
					// While its tenant's own jobs hold what it was promised, it goes after
					// others' claims to theirs.
					k *= 2
				}
				if m.now.After(at.Add(k * (m.longest + 3*beat))) {
					t.Fatalf("%s (%d pods of %d) waits since %s, now %s, with %d ahead: %s", j.Name, j.Pods, j.UnitsPerPod, j.since(), m.now, len(ahead[j.UID]), encode(m.snapshot()))
				}
			}
		}
	})
}

// TestStreamStarvesNobody: small jobs of others that would always find room do not
// keep a gang of all nodes from its own, and without reservations they do.
func TestStreamStarvesNobody(t *testing.T) {
	for reserveAfter, want := range map[time.Duration]bool{0: false, 5 * time.Minute: true} {
		m := newBazaar(roll1(1), 4, 2, false)
		m.policy.FairPreemption, m.policy.ReserveAfter = nil, reserveAfter
		for range 20 {
			m.add("t0", 1, 2, 0, 9*time.Minute)
			m.turn()
		}
		gang := m.add("t1", 4, 8, 0, m.longest)
		for range 200 {
			m.add("t0", 1, 2, 0, 9*time.Minute)
			m.add("t0", 1, 1, 0, 5*time.Minute)
			m.turn()
		}
		at := m.started[gang.UID]
		switch late := at.After(gang.since().Add(reserveAfter + m.longest + 3*beat)); {
		case want && (at.IsZero() || late):
			t.Errorf("the gang waits since %s and starts at %s", gang.since(), at)
		case !want && !at.IsZero():
			t.Errorf("without reservations the gang starts at %s: nothing is shown", at)
		}
	}
}

func sumOf(grants []Grant) (n int64) {
	for _, g := range grants {
		n += g.Count
	}
	return n
}

func wholly(l *Loan) bool {
	return !slices.ContainsFunc(l.Grants, func(g Grant) bool { return g.Lender != "" })
}
