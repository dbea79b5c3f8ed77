package quota

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// job waits or holds units in a cluster without arrivals.
type job struct {
	Held
	running   bool
	takenBack bool
	taken     int // how often
}

func (j *job) claim() Claim {
	return Claim{Tenant: j.Tenant, Flavor: j.Flavor, Units: j.Units, Priority: j.Priority, TakenBack: j.takenBack}
}

// cluster is a world with jobs. Its nodes are its quota: what fits, finds room.
type cluster struct {
	*world
	jobs  []*job
	ticks int
	now   time.Time
}

func drawCluster(r *rand.Rand, most int) *cluster {
	s := &cluster{world: drawContested(r), now: time.Unix(0, 0)}
	if r.IntN(4) == 0 {
		s.world = drawWorld(r)
	}
	for i := range 2 + r.IntN(most) {
		h := Held{Name: fmt.Sprintf("j%02d", i), Tenant: s.tenant(r), Flavor: s.flavor(r), Units: Amount(1 + r.IntN(9)), Priority: int32(r.IntN(3))}
		if r.IntN(2) == 0 {
			h.Priority = 0
		}
		s.jobs = append(s.jobs, &job{Held: h})
	}
	return s
}

// admit gives a job its units, as a loan unless it fits the tenant's own quota.
func (s *cluster) admit(j *job) {
	s.ticks++
	j.Own = j.Units <= s.tree.NominalRoom(j.Tenant, j.Flavor)
	j.running, j.Since = true, s.now.Add(time.Duration(s.ticks)*time.Second)
	s.tree.Use(j.Tenant, j.Flavor, j.Units)
}

func (s *cluster) stop(j *job) {
	j.running, j.takenBack = false, true
	j.taken++
	s.tree.Use(j.Tenant, j.Flavor, -j.Units)
}

// fitting admits what fits, one after the other, in the order given.
func (s *cluster) fitting(order func(a, b *job) int) (moved bool) {
	for {
		var next *job
		for _, j := range s.jobs {
			if !j.running && j.Units <= s.tree.Available(j.Tenant, j.Flavor) && (next == nil || order(j, next) < 0) {
				next = j
			}
		}
		if next == nil {
			return moved
		}
		s.admit(next)
		moved = true
	}
}

// fair is the order of admission: own quota first, then the smaller share, then
// priority and name.
func (s *cluster) fair(a, b *job) int {
	x := s.tree.SharesWith(a.Tenant, a.Flavor, a.Units, nil)
	y := s.tree.SharesWith(b.Tenant, b.Flavor, b.Units, nil)
	own := func(j *job) int {
		if j.Units <= s.tree.NominalRoom(j.Tenant, j.Flavor) {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(own(a), own(b)), s.tree.Compare(a.Tenant, x, b.Tenant, y), cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Name, b.Name))
}

// held lists what runs, and whose each entry is.
func (s *cluster) held() (held []Held, whose []*job) {
	for _, j := range s.jobs {
		if j.running {
			held, whose = append(held, j.Held), append(whose, j)
		}
	}
	return held, whose
}

// decision is one taking back that happened.
type decision struct {
	job     *job
	victims []*job
	causes  []Cause
}

// takeBack lets the first waiting job that can take back what it needs do so, and
// admits it.
func (s *cluster) takeBack(rules []FairRule, order func(a, b *job) int) (d decision, moved bool) {
	waiting := slices.DeleteFunc(slices.Clone(s.jobs), func(j *job) bool { return j.running })
	slices.SortStableFunc(waiting, order)
	held, whose := s.held()
	for _, j := range waiting {
		victims, causes, ok := s.tree.TakeBack(j.claim(), held, rules, always)
		if !ok {
			continue
		}
		d = decision{job: j, causes: causes}
		for _, v := range victims {
			s.stop(whose[v])
			d.victims = append(d.victims, whose[v])
		}
		s.admit(j)
		return d, true
	}
	return d, false
}

func always([]int) bool { return true }

func (d decision) fair() bool { return slices.Contains(d.causes, FairShare) }

func (d decision) String() string {
	out := fmt.Sprintf("%s (%d of %d) takes", d.job.Name, d.job.Units, d.job.Tenant)
	for i, v := range d.victims {
		out += fmt.Sprintf(" %s (%d of %d, %s)", v.Name, v.Units, v.Tenant, d.causes[i])
	}
	return out
}

var bothRules = []FairRule{LessThanOrEqualToFinalShare, LessThanInitialShare}
