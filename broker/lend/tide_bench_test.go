package lend

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tide is a cluster of nodes of 8 GPUs, with a lender for every 50 GPUs and ten waiting
// jobs for every GPU, of 100 tenants in three levels of cohorts. Three of four units
// are owned by services, which need less than half of that at ebb.
type tide struct {
	r           dice
	in          Snapshot
	state       State
	ended       map[string]bool // loans by name
	jobs, risen int
	// decide is what is measured.
	decide func(Snapshot, State, Policy) (Plan, State)
	// between: garbage is collected before a decision that might have to. allocated is
	// what the last one did.
	between   bool
	allocated uint64
}

// sizes are the units of the waiting gangs, and how many of a hundred have them.
var sizes = []struct {
	units int64
	of100 int
}{{1, 50}, {2, 8}, {4, 8}, {8, 16}, {16, 9}, {32, 6}, {64, 3}}

func newTide(gpus int) *tide {
	w := &tide{r: roll1(uint64(gpus)), ended: map[string]bool{}, decide: new(Decider).Decide}
	w.in = Snapshot{Now: noon, Epoch: 1, Cohorts: []Cohort{{Name: "all"}}}
	flavors := []string{"a100", "h100"}
	for i := range gpus / 8 {
		w.in.Nodes = append(w.in.Nodes, Node{
			Name: fmt.Sprintf("node-%05d", i), Schedulable: true, Units: []Units{{Flavor: flavors[i%2], Capacity: 8}},
		})
	}
	for i := range 5 {
		w.in.Cohorts = append(w.in.Cohorts, Cohort{Name: fmt.Sprintf("division-%d", i), Parent: "all"})
	}
	for i := range 20 {
		w.in.Cohorts = append(w.in.Cohorts, Cohort{Name: fmt.Sprintf("team-%02d", i), Parent: fmt.Sprintf("division-%d", i%5)})
	}
	lenders := gpus / 50
	owned := int64(gpus) * 3 / 4 / int64(lenders) / 8 * 8
	for i := range 100 {
		w.in.Tenants = append(w.in.Tenants, w.tenant(i, int64(gpus), int64(lenders)*owned))
	}
	for i := range lenders {
		w.serve(i, owned, flavors[i%2])
	}
	m := &measured{kinds: map[string][]time.Duration{}}
	for range 14 { // who has just started lends nothing
		w.next(m, "start")
	}
	for range gpus * 10 {
		w.jobs++
		w.in.Jobs = append(w.in.Jobs, w.job(w.jobs))
	}
	slices.SortFunc(w.in.Jobs, func(a, b Job) int { return strings.Compare(a.UID, b.UID) })
	return w
}

// tenant is a serving one of ten: those were promised what their services own, and a
// little; the others share the rest.
func (w *tide) tenant(i int, gpus, owned int64) Tenant {
	t := Tenant{Name: fmt.Sprintf("t%02d", i), Cohort: fmt.Sprintf("team-%02d", i%20)}
	nominal := (gpus - owned) / 90 / 2
	if i%10 == 0 {
		nominal = owned / 10
	}
	for _, f := range []string{"a100", "h100"} {
		t.Quotas = append(t.Quotas, Quota{Flavor: f, Nominal: nominal})
	}
	for k := range 2 {
		w.in.Queues = append(w.in.Queues, Queue{
			Name: fmt.Sprintf("%s/q%d", t.Name, k), Tenant: t.Name, Backfill: (i+k)%10 != 1, FIFO: (i+k)%5 == 2, FairShare: i%5 == 3, Weight: 1,
		})
	}
	return t
}

// serve adds a service whose replicas stand on nodes of its own.
func (w *tide) serve(i int, owned int64, flavor string) {
	l := Lender{
		Name: fmt.Sprintf("online/s%04d", i), Tenant: fmt.Sprintf("t%02d", i/2%10*10), Flavor: flavor, Owned: owned,
		UnitsPerPod: pick(w.r, chain...), LowWater: 0.3, HighWater: 0.7, Dwell: time.Second, Cooldown: time.Second, MaxGrace: time.Minute, Warm: 1,
	}
	replicas := owned / l.UnitsPerPod
	l.Desired = max(replicas*2/5, 1)
	l.Running, l.Ready = l.Desired, l.Desired
	left := l.Running * l.UnitsPerPod
	first := i / 2 * int(owned/8) // of the nodes of the flavor
	for k := first; left > 0; k++ {
		n := min(left, 8)
		w.in.Nodes[2*k+i%2].Units[0].Online += n
		left -= n
	}
	w.in.Lenders = append(w.in.Lenders, l)
	w.load(len(w.in.Lenders)-1, 0.1)
}

// load sets a service's load, as a share of what it owns.
func (w *tide) load(i int, share float64) {
	l := &w.in.Lenders[i]
	l.Load = Load{Known: true, Coverage: 1, Slots: 100, Requests: share * 100 * float64(l.Owned/l.UnitsPerPod)}
	l.Load.Panic = l.Load.Requests
}

func (w *tide) job(i int) Job {
	t := w.r.IntN(100)
	if i%2 == 0 {
		t = w.r.IntN(10)
	}
	var units int64
	for _, s := range sizes {
		units = cmp.Or(units, s.units)
	}
	at := w.r.IntN(100)
	for _, s := range sizes {
		if at -= s.of100; at < 0 {
			units = s.units
			break
		}
	}
	name := fmt.Sprintf("t%02d", t)
	return Job{
		Name: fmt.Sprintf("%s/job-%06d", name, i), UID: fmt.Sprintf("%016x-%06d", w.r.Uint64(), i), Tenant: name,
		Queue: fmt.Sprintf("%s/q%d", name, w.r.IntN(2)), Priority: int32(w.r.IntN(3)) * 100,
		Created: w.in.Now.Add(-time.Duration(w.r.IntN(24*3600)) * time.Second),
		Flavor:  pick(w.r, "a100", "h100"), Pods: max(units/8, 1), UnitsPerPod: min(units, 8),
	}
}

// step lets 5 seconds pass, in which all samples are taken anew.
func (w *tide) step() {
	w.in.Now = w.in.Now.Add(5 * time.Second)
	for i := range w.in.Lenders {
		w.in.Lenders[i].Load.ObservedAt = w.in.Now.Add(-time.Second)
	}
	for i := range w.in.Loans {
		l := &w.in.Loans[i]
		switch {
		case w.ended[l.Name]:
			l.Finished, l.Live = true, 0
		case l.Reclaiming:
			l.Live = 0
		}
		if !l.Reclaiming {
			l.Checkpoint = w.in.Now.Add(-time.Minute)
		}
		if l.Checkpoint.Before(l.Since) {
			l.Checkpoint = l.Since
		}
	}
}

// apply does what the plan says. Jobs are listed anew only if some came or went, as the
// gatherer does.
func (w *tide) apply(plan Plan) {
	var started []int
	closed := map[string]bool{}
	var loans []Loan
	for _, a := range plan.Actions {
		switch a.Kind {
		case ActionLend:
			at, _ := slices.BinarySearchFunc(w.in.Jobs, a.JobUID, func(j Job, uid string) int { return strings.Compare(j.UID, uid) })
			j := &w.in.Jobs[at]
			started = append(started, at)
			loans = append(loans, Loan{
				Name: a.Loan, Job: a.Job, JobUID: a.JobUID, Borrower: j.Tenant, Queue: j.Queue, Priority: j.Priority, Attempt: a.Attempt,
				Pods: j.Pods, Grants: a.Grants, Since: w.in.Now, Checkpoint: w.in.Now, Grace: 30 * time.Second, Live: j.Pods, Bound: j.Pods,
			})
		case ActionReclaim:
			for i := range w.in.Loans {
				if l := &w.in.Loans[i]; l.Name == a.Loan {
					l.Reclaiming, l.ReclaimBy, l.ReclaimID, l.ReclaimedFor = true, a.ReclaimBy, a.ReclaimID, a.ReclaimedFor
				}
			}
		case ActionReturn:
			closed[a.Loan] = true
		}
	}
	if len(started) > 0 {
		w.in.Jobs = slices.Clone(w.in.Jobs)
		slices.Sort(started)
		for n, at := range started {
			w.in.Jobs = slices.Delete(w.in.Jobs, at-n, at-n+1)
		}
	}
	loans = append(loans, w.in.Loans...)
	w.in.Loans = slices.DeleteFunc(loans, func(l Loan) bool { return closed[l.Name] })
	slices.SortFunc(w.in.Loans, func(a, b Loan) int { return strings.Compare(a.Name, b.Name) })
}

// arrive adds jobs, to random places in the order of UIDs.
func (w *tide) arrive(jobs int) {
	w.in.Jobs = append(make([]Job, 0, len(w.in.Jobs)+jobs), w.in.Jobs...)
	for range jobs {
		w.jobs++
		j := w.job(w.jobs)
		at, _ := slices.BinarySearchFunc(w.in.Jobs, j.UID, func(j Job, uid string) int { return strings.Compare(j.UID, uid) })
		w.in.Jobs = slices.Insert(w.in.Jobs, at, j)
	}
}

// rise puts one service of ten under nearly full load, others each time; the last ones
// are as they were before.
func (w *tide) rise() {
	for i := range w.in.Lenders {
		share := 0.1
		if i/2%10 == w.risen%10 {
			share = 0.95
		}
		w.load(i, share)
	}
	w.risen++
}

// end lets so many loans end that run.
func (w *tide) end(loans int) {
	for range min(loans, len(w.in.Loans)) {
		w.ended[w.in.Loans[w.r.IntN(len(w.in.Loans))].Name] = true
	}
}

// measured is what decisions took: by the clock, and by the processor.
type measured struct {
	clock, cpu []time.Duration
	kinds      map[string][]time.Duration // by the clock
	collected  []time.Duration            // before decisions, by the clock
	admitted   int
	reclaimed  int
	allocated  uint64
}

// next makes a decision and applies it.
func (w *tide) next(m *measured, kind string) {
	w.step()
	if took, did := w.makeRoom(); did {
		m.collected = append(m.collected, took)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began, used := time.Now(), processor()
	plan, state := w.decide(w.in, w.state, DefaultPolicy())
	took := time.Since(began)
	m.clock, m.cpu = append(m.clock, took), append(m.cpu, processor()-used)
	runtime.ReadMemStats(&after)
	w.allocated = after.TotalAlloc - before.TotalAlloc
	m.allocated += w.allocated
	m.kinds[kind] = append(m.kinds[kind], took)
	m.admitted += len(actions(plan, ActionLend))
	m.reclaimed += len(actions(plan, ActionReclaim))
	w.state = state
	w.apply(plan)
}

// makeRoom collects garbage where there is no room for twice what the last decision
// allocated. Collecting begins when 7 tenths of the way to the next goal are gone, and
// that is twice what was in use.
func (w *tide) makeRoom() (took time.Duration, did bool) {
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	if !w.between || now.HeapAlloc+2*w.allocated < now.NextGC/20*17 {
		return 0, false
	}
	began := time.Now()
	runtime.GC()
	return time.Since(began), true
}

// processor is the time that this process has used.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rounds makes decisions of all kinds by turns: after jobs came; after some loans ended,
// so that others start; after the load of some services rose; and between them such for
// which nothing happened but that samples were taken anew and loans were returned.
func (w *tide) rounds(m *measured, rounds, some int) {
	for range rounds {
		w.arrive(2 * some)
		w.next(m, "arrive")
		w.next(m, "quiet")
		w.end(2 * some)
		w.next(m, "return")
		w.next(m, "admit")
		w.rise()
		w.next(m, "rise")
		w.next(m, "quiet")
		w.next(m, "quiet")
	}
}

// BenchmarkTide measures single decisions, after those with which the cluster fills:
// first with garbage collected between them, then (free) with it collected whenever the
// runtime likes to.
func BenchmarkTide(b *testing.B) {
	for _, gpus := range []int{1000, 3000, 10000, 30000} {
		b.Run(fmt.Sprintf("gpus=%d", gpus), func(b *testing.B) {
			w := newTide(gpus)
			first := &measured{kinds: map[string][]time.Duration{}}
			w.next(first, "first")
			w.rounds(first, 1, gpus/400)
			for b.Loop() {
				m, free := &measured{kinds: map[string][]time.Duration{}}, &measured{kinds: map[string][]time.Duration{}}
				w.between = true
				w.rounds(m, min(20, 200_000/gpus), gpus/400)
				w.between = false
				w.rounds(free, min(20, 200_000/gpus), gpus/400)
				n := float64(len(m.clock))
				b.ReportMetric(float64(len(w.in.Lenders)), "lenders")
				b.ReportMetric(float64(len(w.in.Jobs)), "jobs")
				b.ReportMetric(float64(len(w.in.Loans)), "loans")
				b.ReportMetric(n, "decisions")
				b.ReportMetric(float64(m.admitted), "admitted")
				b.ReportMetric(float64(m.reclaimed), "reclaimed")
				b.ReportMetric(quantile(first.kinds["first"], 0.5), "first-ms")
				for kind, took := range m.kinds {
					b.ReportMetric(quantile(took, 0.5), kind+"-ms")
				}
				b.ReportMetric(quantile(m.clock, 0.5), "p50-ms")
				b.ReportMetric(quantile(m.clock, 0.99), "p99-ms")
				b.ReportMetric(quantile(m.cpu, 0.5), "cpu-p50-ms")
				b.ReportMetric(quantile(m.cpu, 0.99), "cpu-p99-ms")
				b.ReportMetric(float64(m.allocated)/n/(1<<20), "alloc-MiB")
				b.ReportMetric(float64(len(m.collected))/n, "collections")
				if len(m.collected) > 0 {
					b.ReportMetric(quantile(m.collected, 0.5), "collect-p50-ms")
					b.ReportMetric(quantile(m.collected, 0.99), "collect-p99-ms")
				}
				b.ReportMetric(quantile(free.clock, 0.5), "free-p50-ms")
				b.ReportMetric(quantile(free.clock, 0.99), "free-p99-ms")
			}
		})
	}
}

// quantile is in milliseconds.
func quantile(took []time.Duration, q float64) float64 {
	sorted := slices.Sorted(slices.Values(took))
	return float64(sorted[int(q*float64(len(sorted)-1)+0.5)].Microseconds()) / 1000
}
