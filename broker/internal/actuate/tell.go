package actuate

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/reasons"
)

const (
	// retellAfter is how long a job's condition keeps a message while its reason
	// stays: numbers change with every decision. It is also how long what was written is
	// believed to stand though the cache does not show it.
	retellAfter = 10 * time.Second
	// mostTold bounds the conditions of one round, so that hundreds of waiting jobs
	// do not hold up the next decision. Changed reasons go first, admissions and
	// problems before all; the rest is left to the next rounds.
	mostTold = 32
	// mostLooked bounds for how many jobs a round finds out whether they are to be told
	// something.
	mostLooked = 1024
)

// Teller tells jobs whether they are admitted, and why not.
type Teller interface {
	// Tell writes what a job's owner reads in the object itself. last is what it
	// says so far, now when this became known.
	Tell(ctx context.Context, job jobs.Ref, last, a jobs.Admission, now time.Time) error
}

// told remembers what jobs were told, until the cache must have seen it. What stands in a
// job decides: of a write that failed nobody knows whether it was carried out, or when, and
// others can write there too.
type told struct {
	mu   sync.Mutex
	jobs map[types.UID]tale
	// urgent and open are the jobs that may be told something else than the last time:
	// those with a problem, and the others.
	urgent, open line
}

// line is jobs that are looked at in turn. The zero line is empty.
type line struct {
	jobs []types.UID
	in   map[types.UID]bool
}

func (l *line) add(job types.UID) {
	if l.in == nil {
		l.in = map[types.UID]bool{}
	}
	if !l.in[job] {
		l.in[job] = true
		l.jobs = append(l.jobs, job)
	}
}

// take removes the first n.
func (l *line) take(n int) []types.UID {
	first := l.jobs[:min(n, len(l.jobs))]
	l.jobs = l.jobs[len(first):]
	for _, job := range first {
		delete(l.in, job)
	}
	return first
}

type tale struct {
	said   jobs.Admission
	at     time.Time
	failed bool // whether it was said is not known
}

// news is a condition that is to be written.
type news struct {
	job  jobs.Ref
	last jobs.Admission
	tale tale
	// since is when last was said.
	since time.Time
	// rank is 0 for an admission or a problem, 1 for another reason to wait, 2 for
	// another message.
	rank int
}

// tell writes into the waiting jobs why they wait, and into those that run that
// they are admitted.
func (r *round) tell(ctx context.Context, plan *lend.Plan, news []*lend.Verdict) {
	if r.Teller == nil || r.stopped() {
		return
	}
	var steps []step
	for _, n := range r.conditions(plan, news) {
		steps = append(steps, step{"tell job", n.job.Key.String(), func(ctx context.Context) error {
			err := r.Teller.Tell(ctx, n.job, n.last, n.tale.said, n.tale.at)
			if err != nil {
				// It only informs: no decision waits for it, and a later one tries again.
				r.log.Error(err, "The job's condition was not written")
				n.tale.failed = true
			}
			r.told.keep(n.job.UID, n.tale)
			return nil
		}})
	}
	r.each(ctx, steps)
	r.told.forget(r.view)
}

// conditions are those to write in this round. Waiting jobs are looked at if the
// verdict on them or they themselves have changed, and until they have been told.
func (r *round) conditions(plan *lend.Plan, said []*lend.Verdict) []news {
	var found []news
	r.admitted(func(job *jobs.Job, said jobs.Admission) {
		if n, is, _ := r.newsOf(job, said); is {
			found = append(found, n)
		}
	})
	for _, v := range said {
		if job := r.view.Job(types.UID(v.UID)); v.Kind == lend.SubjectJob && job != nil {
			r.told.lineFor(v.Reason).add(job.UID)
		}
	}
	for _, uid := range r.view.Changed {
		r.told.open.add(uid)
	}
	looked := map[types.UID]bool{} // it may stand in both lines
	for _, uid := range slices.Concat(r.told.urgent.take(mostLooked), r.told.open.take(mostLooked)) {
		if looked[uid] {
			continue
		}
		looked[uid] = true
		n, is, later := r.newsOfWaiting(plan, uid)
		if is {
			found = append(found, n)
		}
		if is || later {
			r.told.lineFor(n.tale.said.Reason).add(uid)
		}
	}
	// Whoever was told longest ago comes first.
	slices.SortFunc(found, func(a, b news) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), a.since.Compare(b.since), cmp.Compare(a.job.UID, b.job.UID))
	})
	return found[:min(mostTold, len(found))]
}

// newsOfWaiting is newsOf for a job that waits; one that does not needs no telling.
func (r *round) newsOfWaiting(plan *lend.Plan, uid types.UID) (n news, is, later bool) {
	job, waiting := r.view.Job(uid), r.waiting(string(uid))
	if job == nil || waiting == nil {
		return news{}, false, false
	}
	v := verdictOn(plan, waiting)
	// One that is admitted now has a Loan in the next snapshot, or waits again.
	if v == nil || v.Reason == lend.ReasonLent || v.Reason == lend.ReasonWithinNominal {
		return news{}, false, true
	}
	return r.newsOf(job, r.admission(v))
}

// lineFor is where a job belongs that waits for a reason.
func (t *told) lineFor(reason string) *line {
	if reasons.Warns(reason) {
		return &t.urgent
	}
	return &t.open
}

// admitted are the jobs that hold units.
func (r *round) admitted(add func(*jobs.Job, jobs.Admission)) {
	for i := range r.view.Snapshot.Loans {
		object := r.view.Loans[r.view.Snapshot.Loans[i].Name]
		job := r.view.Job(object.Spec.Job.UID)
		active := meta.FindStatusCondition(object.Status.Conditions, v1alpha1.LoanActive)
		if job != nil && !job.Suspended && active != nil && active.Status == metav1.ConditionTrue {
			add(job, jobs.Admission{Admitted: true, Reason: active.Reason, Message: active.Message})
		}
	}
}

// newsOf tells whether a job is to be told something now, or else later.
func (r *round) newsOf(job *jobs.Job, said jobs.Admission) (n news, is, later bool) {
	now := r.Clock.Now()
	last := r.told.of(job)
	early := now.Sub(last.at) < retellAfter
	stands := last.said
	if !early {
		stands = job.Told
	}
	same := stands.Admitted == said.Admitted && stands.Reason == said.Reason
	switch {
	case stands == said:
		return news{tale: tale{said: said}}, false, job.Told != said
	case early && (same || last.failed):
		return news{tale: tale{said: said}}, false, true
	}
	n = news{job: job.Ref, last: last.said, since: last.at, tale: tale{said: said, at: now}, rank: 1}
	switch {
	case same:
		n.rank = 2
	case said.Admitted || reasons.Warns(said.Reason):
		n.rank = 0
	}
	return n, true, false
}

// of is what a job was told last, and when; at the zero time if that was before
// this process.
func (t *told) of(job *jobs.Job) tale {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, known := t.jobs[job.UID]
	if !known || last.failed {
		last.said = job.Told
	}
	return last
}

func (t *told) keep(job types.UID, said tale) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.jobs == nil {
		t.jobs = map[types.UID]tale{}
	}
	t.jobs[job] = said
}

// forget drops jobs that do not exist any more, once in a while.
func (t *told) forget(v *gather.View) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.jobs) <= 2*v.CountJobs() {
		return
	}
	for uid := range t.jobs {
		if v.Job(uid) == nil {
			delete(t.jobs, uid)
		}
	}
}
