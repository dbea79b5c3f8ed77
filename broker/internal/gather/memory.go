package gather

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// memory keeps what was worked out about jobs. A queue may hold very many of them,
// few of which change between two decisions; what is remembered is what would come
// out again. The zero memory is ready to use.
type memory struct {
	rules *rules
	jobs  map[types.UID]*remembered
	order []*remembered // by UID
	round int

	changed bool // a job came, went or changed since the last sorting
	added   bool // order is not by UID
	fresh   []types.UID
	last    sorting
}

// remembered is a job with a queue or a loan.
type remembered struct {
	job   jobs.Job
	rules *rules // that waiting was made by; nil: by none yet
	// waiting describes the job as one that waits.
	waiting lend.Job
	round   int // in which it was seen last
}

// sorting says which jobs wait and which are astray. It is shared between snapshots,
// and so never changed.
type sorting struct {
	covered map[types.UID]bool
	waiting []lend.Job
	strays  []*jobs.Job
	// final: nothing in it depends on the time.
	final bool
}

// begin starts to look at the jobs.
func (m *memory) begin(r *rules) {
	m.round++
	m.changed = m.changed || m.rules != r
	m.rules = r
	if m.jobs == nil {
		m.jobs = map[types.UID]*remembered{}
	}
}

// known marks a job as seen, if this version of it is remembered.
func (m *memory) known(uid types.UID, version string) bool {
	e := m.jobs[uid]
	if e == nil || version == "" || e.job.Version != version {
		return false
	}
	e.round = m.round
	return true
}

// see takes over a job as it is now.
func (m *memory) see(job *jobs.Job) {
	m.changed = true
	e := m.jobs[job.UID]
	if e == nil {
		e = &remembered{}
		m.jobs[job.UID] = e
		m.order, m.added = append(m.order, e), true
	}
	e.job, e.rules, e.round = *job, nil, m.round
	m.fresh = append(m.fresh, job.UID)
}

// end forgets the jobs that were not seen, and sorts the others.
func (m *memory) end() {
	m.order = slices.DeleteFunc(m.order, func(e *remembered) bool {
		if e.round == m.round {
			return false
		}
		m.changed = true
		delete(m.jobs, e.job.UID)
		return true
	})
	if m.added {
		slices.SortFunc(m.order, func(a, b *remembered) int { return cmp.Compare(a.job.UID, b.job.UID) })
		m.added = false
	}
}

// sort tells the jobs that wait from those that run without a loan. covered are the
// jobs with an open loan.
func (m *memory) sort(covered map[types.UID]bool, setbacks *Setbacks, now time.Time) sorting {
	quiet := setbacks.none()
	if !m.changed && quiet && m.last.final && maps.Equal(covered, m.last.covered) {
		return m.last
	}
	s := sorting{covered: covered, final: quiet, waiting: make([]lend.Job, 0, len(m.order))}
	for _, e := range m.order {
		switch {
		case e.job.Finished || e.job.Queue == "" || covered[e.job.UID]:
		case !e.job.Suspended:
			s.strays = append(s.strays, &e.job)
		default:
			s.waiting = append(s.waiting, e.described(m.rules))
			if w := &s.waiting[len(s.waiting)-1]; w.Problem == nil && !quiet {
				w.Problem = setbacks.problem(e.job.UID, now)
			}
		}
	}
	m.changed, m.last = false, s
	return s
}

func (e *remembered) described(r *rules) lend.Job {
	if e.rules != r {
		e.waiting, e.rules = r.waiting(&e.job), r
	}
	return e.waiting
}

// news are the jobs that were seen anew since it was asked last.
func (m *memory) news() []types.UID {
	fresh := m.fresh
	m.fresh = nil
	return fresh
}

// Job is a job with a queue or a loan, nil if there is none of that UID. It is
// shared, and valid until the next Gather.
func (v *View) Job(uid types.UID) *jobs.Job {
	if v.memory == nil || v.memory.jobs[uid] == nil {
		return nil
	}
	return &v.memory.jobs[uid].job
}

// CountJobs is how many there are.
func (v *View) CountJobs() int {
	if v.memory == nil {
		return 0
	}
	return len(v.memory.jobs)
}
