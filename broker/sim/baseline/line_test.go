package baseline

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// admitted plays a line on a pool and one home that is lent whole, all jobs arriving at
// the beginning, and tells who starts then and where: "job" in the pool, "job*" with any
// units on loan.
func admitted(t *testing.T, l line, pool, home int, tenants []lend.Tenant, jobs ...sim.Job) string {
	t.Helper()
	s := village(pool, home, 8, sim.Curve{{At: 0, Value: 0}}, jobs...)
	if s.Tenants = tenants; len(tenants) > 0 {
		s.Queues = []lend.Queue{{Name: "research/default", Tenant: "research"}, {Name: "vision/default", Tenant: "vision"}}
	}
	var got []string
	_, err := sim.Run(s, watched{&policy{keeps: pending{}, line: l}, func(w *sim.World) {
		if w.Now() > 0 {
			return
		}
		for _, j := range w.Running() {
			name := j.Name[strings.Index(j.Name, "/")+1:]
			if slices.ContainsFunc(j.Places, func(p sim.Place) bool { return p.Lender != sim.Nobody }) {
				name += "*"
			}
			if j.MinPods > 0 {
				name += fmt.Sprintf("=%d", j.Held)
			}
			got = append(got, name)
		}
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(got, " ")
}

func of(tenant string, j sim.Job) sim.Job {
	j.Tenant, j.Queue, j.Name = tenant, tenant+"/default", tenant+strings.TrimPrefix(j.Name, "research")
	return j
}

func shrinks(j sim.Job, least int64) sim.Job {
	j.MinPods = least
	return j
}

func TestLine(t *testing.T) {
	limit := func(n int64) *int64 { return &n }
	quotas := func(limits ...*int64) []lend.Tenant {
		q := func(n int64, limit *int64) []lend.Quota {
			return []lend.Quota{{Flavor: "gpu", Nominal: n, BorrowingLimit: limit}}
		}
		return []lend.Tenant{{Name: "research", Cohort: "lab", Quotas: q(8, limits[0])}, {Name: "serving", Cohort: "lab", Quotas: q(8, nil)}, {Name: "vision", Cohort: "lab", Quotas: q(8, limits[1])}}
	}
	alone := func(limit *int64) []lend.Tenant { // nobody has a quota that others could use
		all := quotas(limit, nil)
		all[2].Quotas[0].Nominal = 0
		return all
	}
	fifo, kueue := line{tiers: ownThenLoans()}, line{quotas: true, tiers: ownThenLoans()}
	for name, tt := range map[string]struct {
		line       line
		pool, home int
		tenants    []lend.Tenant
		jobs       []sim.Job
		want       string
	}{
		"who comes first":            {fifo, 1, 0, nil, []sim.Job{gang("a", 0, 1, 5), gang("b", 0, 1, 5)}, "a"},
		"backfill":                   {fifo, 1, 0, nil, []sim.Job{gang("a", 0, 1, 5), gang("b", 0, 1, 5), gang("c", 0, 1, 3)}, "a c"},
		"pool, then loans":           {fifo, 1, 1, nil, []sim.Job{gang("a", 0, 1, 5), gang("b", 0, 1, 5)}, "a b*"},
		"over both, last":            {fifo, 1, 1, nil, []sim.Job{gang("a", 0, 2, 8), gang("b", 0, 1, 1)}, "a*"},
		"pool alone":                 {line{tiers: ownAlone()}, 1, 1, nil, []sim.Job{gang("a", 0, 1, 5), gang("b", 0, 1, 5)}, "a"},
		"as many pods as there are":  {line{tiers: ownThenLoans(), elastic: true, grows: true}, 1, 0, nil, []sim.Job{gang("a", 0, 1, 5), shrinks(gang("b", 0, 8, 1), 2)}, "a b=3"},
		"not fewer than its least":   {line{tiers: ownThenLoans(), elastic: true, grows: true}, 1, 0, nil, []sim.Job{gang("a", 0, 1, 5), shrinks(gang("b", 0, 8, 1), 4)}, "a"},
		"grows into what is left":    {line{tiers: ownThenLoans(), elastic: true, grows: true}, 1, 1, nil, []sim.Job{gang("a", 0, 1, 5), shrinks(gang("b", 0, 8, 1), 2)}, "a b*=8"},
		"own quota before borrowing": {kueue, 2, 0, quotas(nil, nil), []sim.Job{gang("a", 0, 1, 8), gang("b", 0, 1, 8), of("vision", gang("c", 0, 1, 8))}, "a c"},
		"what a cohort leaves":       {kueue, 2, 0, quotas(nil, nil), []sim.Job{gang("a", 0, 1, 8), gang("b", 0, 1, 8)}, "a b"},
		"not what services own":      {line{quotas: true, tiers: ownAlone()}, 3, 1, quotas(nil, nil), []sim.Job{gang("a", 0, 1, 8), gang("b", 0, 1, 8), gang("c", 0, 1, 8)}, "a b"},
		"borrowing limit, pool":      {kueue, 2, 0, quotas(limit(4), nil), []sim.Job{gang("a", 0, 1, 8), gang("b", 0, 1, 8), gang("c", 0, 1, 4)}, "a c"},
		"borrowing limit, loans":     {kueue, 1, 1, quotas(limit(4), nil), []sim.Job{gang("a", 0, 1, 8), gang("b", 0, 1, 8), gang("c", 0, 1, 4)}, "a c*"},
		"over both, by both":         {kueue, 1, 1, alone(nil), []sim.Job{gang("a", 0, 2, 8)}, "a*"},
		"no more of the pool":        {kueue, 2, 1, alone(nil), []sim.Job{gang("a", 0, 3, 8)}, ""},
		"nor beyond the limit":       {kueue, 1, 1, alone(limit(4)), []sim.Job{gang("a", 0, 2, 8)}, ""},
		"limits count both":          {kueue, 1, 2, quotas(limit(4), nil), []sim.Job{gang("a", 0, 1, 4), gang("b", 0, 1, 4), gang("c", 0, 1, 4), gang("d", 0, 1, 4)}, "a b c*"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := admitted(t, tt.line, tt.pool, tt.home, tt.tenants, tt.jobs...); got != tt.want {
				t.Errorf("started %q, want %q", got, tt.want)
			}
		})
	}
}

// A tenant has again what its jobs gave back.
func TestBooksAreSwept(t *testing.T) {
	s := village(1, 0, 1, nil)
	s.Tenants = []lend.Tenant{{Name: "research", Quotas: []lend.Quota{{Flavor: "gpu", Nominal: 8}}}}
	s.Queues = []lend.Queue{{Name: "research/default", Tenant: "research"}}
	var jobs []sim.Job
	for i := range 12 {
		jobs = append(jobs, gang(fmt.Sprintf("job-%02d", i), 0, 1, 8))
	}
	s.Jobs = sim.List(jobs)
	r := play(t, "pools-apart", s)
	if r.Finished != 12 || r.QueueingMean != 5.5*3600 {
		t.Errorf("%d jobs finished, waited %v s, want 12 and %v s", r.Finished, r.QueueingMean, 5.5*3600)
	}
}

// forgetful is a policy that looks at the whole line each time.
type forgetful struct{ *policy }

func (p forgetful) Decide(w *sim.World) time.Duration {
	p.line.last = glance{}
	return p.policy.Decide(w)
}

// Not looking at the line where nobody can start changes nothing.
func TestGlanceChangesNothing(t *testing.T) {
	for _, name := range []string{"pools-apart", "stock-preemption", "quota-cron", "fewest-jobs", "oracle"} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s, jobs := hamlets(t, rapid.Bool().Draw(t, "failures"))
				var texts []string
				for _, whole := range []bool{false, true} {
					made, err := New(name, Before(s, day))
					if err != nil {
						t.Fatal(err)
					}
					if whole {
						made = forgetful{made.(*policy)}
					}
					again := *s
					again.Jobs = sim.List(jobs)
					r, err := sim.Run(&again, made, nil)
					if err != nil {
						t.Fatal(err)
					}
					text, err := json.Marshal(r)
					if err != nil {
						t.Fatal(err)
					}
					texts = append(texts, string(text))
				}
				if texts[0] != texts[1] {
					t.Fatalf("with a glance\n%s\nwithout\n%s", texts[0], texts[1])
				}
			})
		})
	}
}

// Who waits behind so many others does not jump the line.
func TestLookahead(t *testing.T) {
	for behind, want := range map[int]string{lookahead - 1: "small", lookahead: ""} {
		var jobs []sim.Job
		for i := range behind {
			jobs = append(jobs, gang(fmt.Sprintf("job-%05d", i), 0, 2, 8))
		}
		if got := admitted(t, line{tiers: ownThenLoans()}, 1, 0, nil, append(jobs, gang("small", 0, 1, 1))...); got != want {
			t.Errorf("behind %d jobs: started %q, want %q", behind, got, want)
		}
	}
}
