package queue

import (
	"cmp"
	"math/big"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/quota"
)

// spec is the order written down with no thought of time: it looks at every job
// whenever it needs one.
type spec struct {
	world
	tree   *quota.Tree
	places [][]int // per queue, jobs in its order
	rank   []int32 // by job
	gone   []bool  // offered
	held   []int   // per queue, the job that holds it up, or -1
	used   []int64
	marks  []specMark
	// candidate of each node that is a tenant, or -1.
	candidate []int
	out       int
}

type specMark struct {
	job     int
	inQueue bool
}

func newSpec(w world, tree *quota.Tree) *spec {
	s := &spec{world: w, tree: tree, gone: make([]bool, len(w.jobs)), rank: make([]int32, len(w.jobs)), out: -1}
	for i, q := range w.queues {
		var in []int
		for j := range w.jobs {
			if w.jobs[j].Queue == i {
				in = append(in, j)
			}
		}
		slices.SortFunc(in, func(a, b int) int {
			if q.Order == FIFO {
				return s.age(a, b)
			}
			return cmp.Or(cmp.Compare(w.jobs[b].Priority, w.jobs[a].Priority), s.age(a, b))
		})
		for n, j := range in {
			s.rank[j] = w.jobs[j].Priority
			if q.Order == FIFO && n > 0 {
				s.rank[j] = min(s.rank[j], s.rank[in[n-1]])
			}
		}
		s.places = append(s.places, in)
		s.held = append(s.held, -1)
		s.used = append(s.used, q.Used)
	}
	for n := range tree.Nodes() {
		s.candidate = append(s.candidate, s.elect(n))
	}
	return s
}

func (s *spec) age(a, b int) int {
	j, k := &s.jobs[a], &s.jobs[b]
	return cmp.Or(j.Created.Compare(k.Created), cmp.Compare(j.Name, k.Name), cmp.Compare(j.UID, k.UID))
}

func (s *spec) fits(job int) bool {
	j := &s.jobs[job]
	tenant := s.queues[j.Queue].Tenant
	for _, m := range s.marks {
		k := &s.jobs[m.job]
		same := s.queues[k.Queue].Tenant == tenant
		if m.inQueue {
			same = k.Queue == j.Queue
		}
		if same && k.Flavor == j.Flavor && k.Pods == j.Pods && k.UnitsPerPod == j.UnitsPerPod && j.Priority <= k.Priority {
			return false
		}
	}
	return j.Units() <= s.tree.Available(tenant, j.Flavor) || j.Units() <= s.upTo(tenant, j.Flavor)
}

// head is the first job of a queue that may be offered, or -1.
func (s *spec) head(queue int) int {
	q := s.queues[queue]
	if q.Closed || q.Tenant < 0 || s.held[queue] >= 0 {
		return -1
	}
	for _, j := range s.places[queue] {
		switch {
		case s.gone[j] || s.jobs[j].Flavor < 0:
		case s.fits(j):
			return j
		case !q.Backfill:
			s.held[queue] = j
			return -1
		}
	}
	return -1
}

func (s *spec) elect(tenant int) int {
	var heads []int
	for i, q := range s.queues {
		if int(q.Tenant) == tenant {
			if j := s.head(i); j >= 0 {
				heads = append(heads, j)
			}
		}
	}
	top := int32(-1 << 31)
	for _, j := range heads {
		top = max(top, s.rank[j])
	}
	turn, best := -1, -1
	for _, j := range heads {
		if s.rank[j] == top && s.queues[s.jobs[j].Queue].Order == FairShare && (turn < 0 || s.turns(j, turn) < 0) {
			turn = j
		}
	}
	for _, j := range heads {
		if s.rank[j] != top || s.queues[s.jobs[j].Queue].Order == FairShare && j != turn {
			continue
		}
		if best < 0 || s.age(j, best) < 0 {
			best = j
		}
	}
	return best
}

func (s *spec) turns(a, b int) int {
	use := func(j int) *big.Rat {
		q := s.jobs[j].Queue
		return big.NewRat(s.used[q], max(s.queues[q].Weight, 1))
	}
	return cmp.Or(use(a).Cmp(use(b)), s.age(a, b))
}

// best is the winning job of a node's children, or of the roots, or -1.
func (s *spec) best(node quota.NodeID) int {
	if node != quota.None && s.candidate[node] >= 0 {
		return s.candidate[node]
	}
	best, at := -1, quota.NodeID(quota.None)
	for c := range s.tree.Nodes() {
		child := quota.NodeID(c)
		if s.tree.Parent(child) != node {
			continue
		}
		if j := s.best(child); j >= 0 && (best < 0 || s.beats(child, j, at, best)) {
			best, at = j, child
		}
	}
	return best
}

func (s *spec) beats(a quota.NodeID, job int, b quota.NodeID, other int) bool {
	j, k := &s.jobs[job], &s.jobs[other]
	aged := func(j *Job) bool {
		return s.after > 0 && !s.now.Add(-s.after).Before(j.Queued) && s.tree.Weight(s.queues[j.Queue].Tenant) > 0
	}
	yes := func(b bool) int {
		if b {
			return 0
		}
		return 1
	}
	c := cmp.Or(cmp.Compare(yes(!s.borrows(a, j)), yes(!s.borrows(b, k))), cmp.Compare(yes(aged(j)), yes(aged(k))))
	if c == 0 && aged(j) {
		c = j.Queued.Compare(k.Queued)
	}
	if c == 0 && s.tree.Parent(a) != quota.None {
		c = cmp.Compare(s.share(a, j), s.share(b, k))
	}
	return cmp.Or(c, cmp.Compare(s.rank[other], s.rank[job]), s.age(job, other)) < 0
}

// share and borrows are measured in a copy in which the job runs.
func (s *spec) share(n quota.NodeID, j *Job) quota.Share {
	t := s.tree.Clone()
	t.Use(s.queues[j.Queue].Tenant, j.Flavor, j.Units())
	return t.OrderShare(n)
}

func (s *spec) borrows(n quota.NodeID, j *Job) bool {
	t := s.tree.Clone()
	t.Use(s.queues[j.Queue].Tenant, j.Flavor, j.Units())
	used := t.Used(n, j.Flavor)
	return used > s.tree.Used(n, j.Flavor) && used > t.Subtree(n, j.Flavor)
}

func (s *spec) next() (Job, bool) {
	for {
		j := s.best(quota.None)
		if j < 0 {
			return Job{}, false
		}
		queue := s.jobs[j].Queue
		if s.fits(j) {
			s.out, s.gone[j] = j, true
			return s.jobs[j], true
		}
		tenant := int(s.queues[queue].Tenant)
		s.candidate[tenant] = s.elect(tenant)
	}
}

// say ends the turn.
func (s *spec) say(what answer) {
	j := s.out
	queue := s.jobs[j].Queue
	switch what {
	case admitted:
		s.used[queue] += 1000 * int64(s.jobs[j].Units())
	case refusedAlike, refusedInQueue:
		s.marks = append(s.marks, specMark{j, what == refusedInQueue})
	}
	if what != admitted && !s.queues[queue].Backfill {
		s.held[queue] = j
	}
	tenant := int(s.queues[queue].Tenant)
	s.candidate[tenant] = s.elect(tenant)
}

// moment is when the passes of the tests are.
var moment = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
