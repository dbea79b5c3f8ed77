package lend

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// shelf is what is kept of open loans from decision to decision: the orders in which they
// are looked at. Most loans are in the next snapshot as they were in the last one, and then
// so are their places in an order.
type shelf struct {
	// known are the loans of the last snapshot, by name, and work the list before that.
	known, work []known
	// to says where each is in the present one, -1: it is not, or not the same.
	to    []int32
	added []int32
	// byAge and byClaim are places in known: oldest first, and in the order in which
	// TakeBack takes. Each is kept from when it is first asked for.
	byAge, byClaim order32
	// jobs are how many loans each job has, by UID.
	jobs map[string]int32
}

type order32 struct {
	list []int32
	kept bool
}

// known is what orders go by.
type known struct {
	name     string
	job      string // its UID
	since    time.Time
	priority int32
	// nodes are the numbers that the nodes of its grants had when they were last looked for.
	nodes []int32
}

func (k *known) of(l *Loan) bool {
	return k.name == l.Name && k.job == l.JobUID && k.priority == l.Priority && k.since.Equal(l.Since)
}

// follow takes over the loans, which are by name, each once.
func (s *shelf) follow(loans []Loan) {
	if s.same(loans) {
		return
	}
	s.to, s.added, s.work = zeroed(s.to, len(s.known)), s.added[:0], s.work[:0]
	at := 0
	for i := range loans {
		l := &loans[i]
		for ; at < len(s.known) && s.known[at].name < l.Name; at++ {
			s.to[at] = -1
		}
		if at < len(s.known) && s.known[at].name == l.Name {
			s.to[at] = -1
			if s.known[at].of(l) {
				s.to[at] = int32(i)
			}
			at++
		}
		k := known{name: l.Name, job: l.JobUID, since: l.Since, priority: l.Priority}
		if at == 0 || s.to[at-1] != int32(i) {
			s.added = append(s.added, int32(i))
		} else {
			k.nodes = s.known[at-1].nodes
		}
		s.work = append(s.work, k)
	}
	for ; at < len(s.known); at++ {
		s.to[at] = -1
	}
	s.count()
	clear(s.known)
	s.known, s.work = s.work, s.known
	s.byAge.follow(s, s.older)
	s.byClaim.follow(s, s.before)
}

// count takes off the loans that are gone and adds those that came.
func (s *shelf) count() {
	if s.jobs == nil {
		s.jobs = make(map[string]int32, len(s.work))
	}
	for at, to := range s.to {
		if to >= 0 {
			continue
		}
		job := s.known[at].job
		if s.jobs[job]--; s.jobs[job] == 0 {
			delete(s.jobs, job)
		}
	}
	for _, at := range s.added {
		s.jobs[s.work[at].job]++
	}
}

// has reports whether there is a loan of that name.
func (s *shelf) has(name string) bool {
	_, ok := slices.BinarySearchFunc(s.known, name, func(k known, name string) int { return strings.Compare(k.name, name) })
	return ok
}

// of is the name of the job's loan, the last one of several.
func (s *shelf) of(job string) (loan string, ok bool) {
	if s.jobs[job] == 0 {
		return "", false
	}
	for i := len(s.known) - 1; i >= 0; i-- {
		if s.known[i].job == job {
			return s.known[i].name, true
		}
	}
	return "", false
}

// numbers are those of the nodes of a loan's grants, by its place; -1 is none that is there.
func (s *shelf) numbers(at int, a *atlas, grants []Grant) []int32 {
	k := &s.known[at]
	if !a.are(k.nodes, grants) {
		k.nodes = a.numbersOf(grants)
	}
	return k.nodes
}

func (s *shelf) same(loans []Loan) bool {
	if len(loans) != len(s.known) {
		return false
	}
	for i := range loans {
		if !s.known[i].of(&loans[i]) {
			return false
		}
	}
	return true
}

// follow renames the places, and puts those that are new where they belong.
func (o *order32) follow(s *shelf, compare func(x, y int32) int) {
	if !o.kept {
		return
	}
	left := o.list[:0]
	for _, at := range o.list {
		if to := s.to[at]; to >= 0 {
			left = append(left, to)
		}
	}
	slices.SortFunc(s.added, compare)
	o.list = insert(left, s.added, compare)
}

// all is the order of all loans.
func (o *order32) all(s *shelf, compare func(x, y int32) int) []int32 {
	if !o.kept {
		o.kept, o.list = true, o.list[:0]
		for i := range s.known {
			o.list = append(o.list, int32(i))
		}
		slices.SortFunc(o.list, compare)
	}
	return o.list
}

func (s *shelf) older(x, y int32) int {
	a, b := &s.known[x], &s.known[y]
	return cmp.Or(a.since.Compare(b.since), strings.Compare(a.name, b.name))
}

func (s *shelf) before(x, y int32) int {
	a, b := &s.known[x], &s.known[y]
	return cmp.Or(cmp.Compare(a.priority, b.priority), b.since.Compare(a.since), strings.Compare(a.name, b.name))
}

// oldest are the places of all loans by their age, claims by how they are taken back.
func (s *shelf) oldest() []int32 { return s.byAge.all(s, s.older) }

func (s *shelf) claims() []int32 { return s.byClaim.all(s, s.before) }
