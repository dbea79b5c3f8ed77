package queue

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/quota"
)

// What is measured: a thousand tenants under five levels of cohorts.
const (
	benchTenants = 1000
	benchJobs    = 100_000
	benchAfter   = 10 * time.Minute
)

// benchFlavors are eight, of which three are slices of one.
var (
	benchWhole  = []string{"a100", "b200", "h100", "h200", "l40s"}
	benchSlices = []quota.Flavor{
		{Name: "a100-1g.10gb", SliceOf: "a100", Compute: 1, Memory: 1},
		{Name: "a100-2g.20gb", SliceOf: "a100", Compute: 2, Memory: 2},
		{Name: "a100-3g.40gb", SliceOf: "a100", Compute: 3, Memory: 4},
	}
)

// gangs are the sizes of jobs, in units, and how many of a hundred have them. Public
// traces have more jobs of one GPU (83 of a hundred): large gangs are what is left
// waiting when a cluster is nearly full.
var gangs = []struct {
	units int64
	of100 int
}{{1, 55}, {2, 8}, {4, 8}, {8, 15}, {16, 6}, {32, 5}, {64, 3}}

// cluster is the bench's world. Everything is drawn from one seed.
type cluster struct {
	r       *rand.Rand
	tree    *quota.Tree
	tenants []quota.NodeID
	flavors []quota.FlavorID
	queues  []Queue
	jobs    []Job
	booked  []booking
}

type booking struct {
	tenant quota.NodeID
	flavor quota.FlavorID
	units  quota.Amount
}

func newCluster() *cluster {
	c := &cluster{r: rand.New(rand.NewPCG(2, 100))}
	var nodes []quota.Node
	above := []string{""}
	for level, width := range []int{1, 3, 10, 40, 160} {
		var names []string
		for i := range width {
			weight := 1 + c.r.Int64N(4)
			names = append(names, fmt.Sprintf("cohort-%d-%d", level, i))
			nodes = append(nodes, quota.Node{Name: names[i], Cohort: true, Parent: above[i%len(above)], Weight: &weight})
		}
		above = names
	}
	for i := range benchTenants {
		nodes = append(nodes, c.tenant(i, above[i%len(above)]))
	}
	c.tree = quota.NewTree(benchSlices, nodes)
	for _, name := range benchWhole {
		f, _ := c.tree.Flavor(name)
		c.flavors = append(c.flavors, f)
	}
	for _, s := range benchSlices {
		f, _ := c.tree.Flavor(s.Name)
		c.flavors = append(c.flavors, f)
	}
	for i := range benchTenants {
		id, _ := c.tree.Tenant(fmt.Sprintf("tenant-%d", i))
		c.tenants = append(c.tenants, id)
		if c.r.IntN(2) == 0 {
			c.tree.Remember(id, c.flavor(), c.r.Int64N(40_000))
		}
	}
	c.wait()
	c.fill()
	return c
}

// tenant has quota of every flavor. Half have a borrowing limit, a third a lending
// limit, and one of fifty has weight 0.
func (c *cluster) tenant(i int, parent string) quota.Node {
	weight := 1 + c.r.Int64N(4)
	if i%50 == 0 {
		weight = 0
	}
	n := quota.Node{Name: fmt.Sprintf("tenant-%d", i), Parent: parent, Weight: &weight}
	for _, f := range benchWhole {
		nominal := quota.Amount([]int64{0, 4, 8, 8, 16, 32, 64}[c.r.IntN(7)])
		q := quota.Quota{Flavor: f, Nominal: nominal}
		if c.r.IntN(2) == 0 {
			limit := 32 + 4*nominal
			q.BorrowingLimit = &limit
		}
		if c.r.IntN(3) == 0 {
			limit := nominal / 2
			q.LendingLimit = &limit
		}
		n.Quotas = append(n.Quotas, q)
	}
	return n
}

// flavor is a whole GPU's three times of four.
func (c *cluster) flavor() quota.FlavorID {
	if c.r.IntN(4) > 0 {
		return c.flavors[c.r.IntN(len(benchWhole))]
	}
	return c.flavors[c.r.IntN(len(c.flavors))]
}

func (c *cluster) units() int64 {
	at := c.r.IntN(100)
	for _, g := range gangs {
		if at -= g.of100; at < 0 {
			return g.units
		}
	}
	return 1
}

// wait draws the queues, one to three a tenant, and the jobs, of which a tenth of the
// tenants have half. Pods have at most eight units.
func (c *cluster) wait() {
	for i, id := range c.tenants {
		order := []Order{Priority, Priority, Priority, FIFO, FairShare}[c.r.IntN(5)]
		for k := range 1 + c.r.IntN(3) {
			c.queues = append(c.queues, Queue{
				Name: fmt.Sprintf("tenant-%d/%d", i, k), Tenant: id, Order: order, Weight: 1 + c.r.Int64N(3),
				Used: c.r.Int64N(50_000), Backfill: c.r.IntN(10) > 0,
			})
		}
	}
	for i := range benchJobs {
		at := c.r.IntN(len(c.queues))
		if i%2 == 0 {
			at = c.r.IntN(len(c.queues) / 10)
		}
		units := c.units()
		created := moment.Add(-time.Duration(c.r.Int64N(int64(24 * time.Hour))))
		c.jobs = append(c.jobs, Job{
			Ref: i, Queue: at, Flavor: c.flavor(), Pods: max(units/8, 1), UnitsPerPod: min(units, 8),
			Priority: int32(c.r.IntN(3)) * 100, Created: created, Name: fmt.Sprintf("ns/job-%06d", i),
			UID: fmt.Sprintf("%016x-%06d", c.r.Uint64(), i),
		})
	}
}

// fill books jobs that run, in no fair order, until nothing that waits fits.
func (c *cluster) fill() {
	for misses := 0; misses < 20_000; misses++ {
		b := booking{c.tenants[c.r.IntN(len(c.tenants))], c.flavor(), quota.Amount(c.units())}
		if b.units <= c.tree.Available(b.tenant, b.flavor) {
			c.tree.Use(b.tenant, b.flavor, b.units)
			c.booked = append(c.booked, b)
			misses = 0
		}
	}
	for {
		fits := false
		for i := range c.jobs {
			j := &c.jobs[i]
			b := booking{c.queues[j.Queue].Tenant, j.Flavor, j.Units()}
			if b.units <= c.tree.Available(b.tenant, b.flavor) {
				c.tree.Use(b.tenant, b.flavor, b.units)
				c.booked = append(c.booked, b)
				fits = true
			}
		}
		if !fits {
			return
		}
	}
}

// freed is the tree after that many of what runs has ended.
func (c *cluster) freed(ended int) *quota.Tree {
	t := c.tree.Clone()
	r := rand.New(rand.NewPCG(7, uint64(ended)))
	for _, i := range r.Perm(len(c.booked))[:min(ended, len(c.booked))] {
		t.Use(c.booked[i].tenant, c.booked[i].flavor, -c.booked[i].units)
	}
	return t
}

// outcome counts what a pass did.
type outcome struct{ offered, admitted int }

// pass admits until nothing more fits. What a tenant has left of its nominal quota it
// could take back from others: jobs that fit there are offered too, one of a class.
func (c *cluster) pass(x *Index, t *quota.Tree) (o outcome) {
	p := x.Begin(t, moment, benchAfter, CouldTakeUpTo(t.NominalRoom))
	for j, ok := p.Next(); ok; j, ok = p.Next() {
		o.offered++
		tenant := c.queues[j.Queue].Tenant
		if j.Units() > t.Available(tenant, j.Flavor) {
			p.Refused(true)
			continue
		}
		o.admitted++
		t.Use(tenant, j.Flavor, j.Units())
		p.Admitted()
	}
	return o
}

// naive sorts all jobs once by what the tree says at the beginning, and tries each.
func (c *cluster) naive(t *quota.Tree) (o outcome) {
	type entry struct {
		*Job
		borrows, aged bool
		share         quota.Share
	}
	all := make([]entry, len(c.jobs))
	var shares []quota.Share
	for i := range c.jobs {
		j := &c.jobs[i]
		tenant := c.queues[j.Queue].Tenant
		shares = t.SharesWith(tenant, j.Flavor, j.Units(), shares)
		all[i] = entry{j, j.Units() > t.NominalRoom(tenant, j.Flavor), moment.Sub(j.Created) >= benchAfter, shares[0]}
	}
	slices.SortFunc(all, func(a, b entry) int {
		if a.borrows != b.borrows {
			return -1 + 2*btoi(a.borrows)
		}
		if a.aged != b.aged {
			return 1 - 2*btoi(a.aged)
		}
		return cmp.Or(cmp.Compare(a.share, b.share), cmp.Compare(b.Priority, a.Priority),
			a.Created.Compare(b.Created), cmp.Compare(a.UID, b.UID))
	})
	for _, e := range all {
		o.offered++
		if tenant := c.queues[e.Queue].Tenant; e.Units() <= t.Available(tenant, e.Flavor) {
			t.Use(tenant, e.Flavor, e.Units())
			o.admitted++
		}
	}
	return o
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// repeated is the first jobs only, and each of them so many times, one minute apart.
func (c *cluster) repeated(jobs, times int) []Job {
	var out []Job
	for _, j := range c.jobs[:jobs] {
		for n := range times {
			again := j
			again.Created = j.Created.Add(time.Duration(n) * time.Minute)
			again.UID = fmt.Sprintf("%s-%d", j.UID, n)
			out = append(out, again)
		}
	}
	return out
}

// BenchmarkPass is one admission pass: Begin, every job that is offered tried and
// booked, until there is none left. It is named for what fits: nothing, some hundred
// jobs, or 5,000. Short and long queues have the same classes of jobs, of which
// nothing fits: 1,000 jobs, and a hundred of each. Naive is the pass for some hundred
// jobs without an index; index is making one of all jobs.
func BenchmarkPass(b *testing.B) {
	c := newCluster()
	x := index(c.queues, c.jobs)
	for _, s := range []struct {
		name  string
		ended int
		index *Index
	}{
		{"nothing", 0, x},
		{"some", 400, x},
		{"many", 4500, x},
		{"short", 0, index(c.queues, c.repeated(benchJobs/100, 1))},
		{"long", 0, index(c.queues, c.repeated(benchJobs/100, 100))},
	} {
		freed := c.freed(s.ended)
		b.Run(s.name, func(b *testing.B) {
			c.measure(b, s.index.Len(), freed, func(t *quota.Tree) outcome { return c.pass(s.index, t) })
		})
	}
	freed := c.freed(400)
	b.Run("naive", func(b *testing.B) { c.measure(b, len(c.jobs), freed, c.naive) })
	b.Run("index", func(b *testing.B) {
		c.measure(b, len(c.jobs), freed, func(*quota.Tree) outcome {
			index(c.queues, c.jobs).tidy()
			return outcome{}
		})
	})
}

// measure times the pass alone, each time in a tree of its own.
func (c *cluster) measure(b *testing.B, jobs int, freed *quota.Tree, pass func(*quota.Tree) outcome) {
	b.ReportAllocs()
	var o outcome
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		t := freed.Clone()
		b.StartTimer()
		began := time.Now()
		o = pass(t)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
	b.ReportMetric(float64(o.offered), "offered")
	b.ReportMetric(float64(o.admitted), "admitted")
	b.ReportMetric(float64(len(c.tenants)), "tenants")
	b.ReportMetric(float64(jobs), "jobs")
}
