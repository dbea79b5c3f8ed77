package queue

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/ebbtide/ebbtide/quota"
	"pgregory.net/rapid"
)

// world is queues and jobs, and how a caller answers.
type world struct {
	nodes  []quota.Node
	queues []Queue
	jobs   []Job
	now    time.Time
	after  time.Duration
	salt   uint64
	lately map[string]int64
	held   map[string]int64
	taking int
}

type answer int

const (
	admitted answer = iota
	refused
	refusedAlike
	refusedInQueue
)

// dice makes even choices; rapid draws the seed and the length.
type dice struct{ *rand.Rand }

func roll(t *rapid.T) dice {
	return dice{rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))}
}

func (r dice) limit() *quota.Amount {
	if r.IntN(2) == 0 {
		return nil
	}
	n := quota.Amount(r.IntN(10))
	return &n
}

func (r dice) node(name, parent string, cohort bool) quota.Node {
	n := quota.Node{Name: name, Cohort: cohort, Parent: parent}
	if r.IntN(3) > 0 {
		w := int64(r.IntN(4))
		n.Weight = &w
	}
	for _, f := range []string{"a100", "h100"} {
		if !cohort || r.IntN(3) == 0 {
			n.Quotas = append(n.Quotas, quota.Quota{
				Flavor: f, Nominal: quota.Amount(r.IntN(12)), BorrowingLimit: r.limit(), LendingLimit: r.limit(),
			})
		}
	}
	return n
}

// drawWorld makes a forest of cohorts; flat is one cohort of tenants.
func drawWorld(r dice, jobs int, flat bool) world {
	w := world{now: moment, salt: r.Uint64(), lately: map[string]int64{}, held: map[string]int64{}, taking: r.IntN(4)}
	w.after = time.Duration(r.IntN(40)-10) * time.Minute
	cohorts := []string{"", "c0"}
	w.nodes = append(w.nodes, r.node("c0", "", true))
	for i := 1; i < 5 && !flat; i++ {
		name := fmt.Sprintf("c%d", i)
		w.nodes = append(w.nodes, r.node(name, cohorts[r.IntN(len(cohorts))], true))
		cohorts = append(cohorts, name)
	}
	tenants := 1 + r.IntN(6)
	for i := range tenants {
		name := fmt.Sprintf("t%d", i)
		n := r.node(name, cohorts[r.IntN(len(cohorts))], false)
		if flat {
			n.Parent = "c0"
		}
		w.nodes = append(w.nodes, n)
		if r.IntN(3) == 0 {
			w.lately[name] = r.Int64N(9000)
		}
		w.held[name] = r.Int64N(9)
	}
	for i := range 1 + r.IntN(2*tenants) {
		w.queues = append(w.queues, Queue{
			Name: fmt.Sprintf("q%d", i), Tenant: quota.NodeID(r.IntN(tenants)), Order: Order(r.IntN(3)),
			Weight: r.Int64N(3), Used: r.Int64N(4) * 2000, Backfill: r.IntN(4) > 0, Closed: r.IntN(10) == 0,
		})
		if r.IntN(20) == 0 {
			w.queues[i].Tenant = quota.None
		}
	}
	for i := range jobs {
		w.jobs = append(w.jobs, w.job(r, i))
	}
	return w
}

func (w *world) job(r dice, i int) Job {
	created := moment.Add(-time.Duration(r.IntN(12)) * 5 * time.Minute)
	j := Job{
		Ref: i, Queue: r.IntN(len(w.queues)), Flavor: quota.FlavorID(r.IntN(2)), Priority: int32(r.IntN(3)),
		Pods: 1 + r.Int64N(3), UnitsPerPod: 1 << r.IntN(3), Created: created, Queued: created,
		Name: fmt.Sprintf("n%d", r.IntN(3)), UID: fmt.Sprintf("u%03d", i),
	}
	if r.IntN(5) == 0 {
		j.Queued = created.Add(3 * time.Minute)
	}
	if r.IntN(30) == 0 {
		j.Flavor = quota.None
	}
	return j
}

func (w *world) tree() *quota.Tree {
	t := quota.NewTree(nil, w.nodes)
	for i := range t.Nodes() {
		name, cohort := t.Name(quota.NodeID(i))
		if cohort {
			continue
		}
		for f := range quota.FlavorID(2) {
			t.Remember(quota.NodeID(i), f, w.lately[name])
			t.Use(quota.NodeID(i), f, quota.Amount(w.held[name]))
		}
	}
	return t
}

// upTo is a caller that takes back for some, however large they are, or little.
func (w *world) upTo(tenant quota.NodeID, flavor quota.FlavorID) quota.Amount {
	switch (int(tenant) + int(flavor)) % 3 {
	case w.taking:
		return quota.Unlimited
	case w.taking + 1:
		return 4
	}
	return 0
}

// chance is the caller's mind about a job: the same whenever it is asked.
func (w *world) chance(uid, what string, of uint64) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d/%s/%s", w.salt, uid, what)
	return h.Sum64() >> 7 % of
}

// judge is what the caller says about a job, given what it sees in its tree.
func (w *world) judge(t *quota.Tree, j *Job) answer {
	if j.Units() <= t.Available(w.queues[j.Queue].Tenant, j.Flavor) && w.chance(j.UID, "admit", 4) > 0 {
		return admitted
	}
	return refused + answer(w.chance(j.UID, "refuse", 3))
}

// event is one thing a pass said.
type event struct {
	UID  string
	What answer
}

// run goes through a pass, and returns what was offered and what was passed over.
func (w *world) run(x *Index) (offered []event, passed []string) {
	t := w.tree()
	p := x.Begin(t, w.now, w.after, CouldTakeUpTo(w.upTo))
	for j, ok := p.Next(); ok; j, ok = p.Next() {
		a := w.judge(t, &j)
		offered = append(offered, event{j.UID, a})
		if a == admitted {
			t.Use(w.queues[j.Queue].Tenant, j.Flavor, j.Units())
		}
		say(p, a)
	}
	eachPassed(p, func(j Job, b reason) { passed = append(passed, fmt.Sprint(j.UID, b.Kind, b.Job.UID)) })
	return offered, passed
}

// reason is why a job was not offered, and the job that stands for it.
type reason struct {
	Kind Kind
	Job  Job
}

// eachPassed tells of the jobs that were passed over one by one.
func eachPassed(p *Pass, tell func(j Job, b reason)) {
	p.passed(func(slots []int32, kind Kind, because int32) {
		for _, slot := range slots {
			if kind == NoQuota || kind == Closed {
				because = slot
			}
			tell(p.x.roster.job(slot), reason{kind, p.x.roster.job(because)})
		}
	})
}

func say(p *Pass, a answer) {
	switch a {
	case admitted:
		p.Admitted()
	case refused:
		p.Refused(false)
	case refusedAlike:
		p.Refused(true)
	case refusedInQueue:
		p.RefusedInQueue()
	}
}

func index(queues []Queue, jobs []Job) *Index {
	x := New(queues)
	x.Grow(len(jobs))
	for _, j := range jobs {
		x.Add(j)
	}
	return x
}
