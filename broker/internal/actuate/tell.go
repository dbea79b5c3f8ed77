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
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
)

const (
	// retellAfter is how long a job's condition keeps a message while its reason
	// stays: numbers change with every decision.
	retellAfter = 10 * time.Second
	// mostTold bounds the conditions of one round, so that hundreds of waiting jobs
	// do not hold up the next decision. Changed reasons go first, admissions and
	// problems before all; the rest is left to the next rounds.
	mostTold = 32
)

// Teller tells jobs whether they are admitted, and why not.
type Teller interface {
	// Tell writes what a job's owner reads in the object itself. last is what it
	// says so far, now when this became known.
	Tell(ctx context.Context, job jobs.Ref, last, a jobs.Admission, now time.Time) error
}

// told remembers what jobs were told, beyond what the cache has seen of it.
type told struct {
	mu   sync.Mutex
	jobs map[types.UID]tale
}

type tale struct {
	said   jobs.Admission
	at     time.Time
	failed bool // the last attempt to say more
}

// news is a condition that is to be written.
type news struct {
	job  jobs.Ref
	last jobs.Admission
	tale tale
	// rank is 0 for an admission or a problem, 1 for another reason to wait, 2 for
	// another message.
	rank int
}

// tell writes into the waiting jobs why they wait, and into those that run that
// they are admitted.
func (r *round) tell(ctx context.Context, plan *lend.Plan) {
	if r.Teller == nil || r.stopped() {
		return
	}
	var steps []step
	for _, n := range r.news(plan) {
		steps = append(steps, step{"tell job", n.job.Key.String(), func(ctx context.Context) error {
			err := r.Teller.Tell(ctx, n.job, n.last, n.tale.said, n.tale.at)
			if err != nil {
				// It only informs: no decision waits for it, and a later one tries again.
				r.log.Error(err, "The job's condition was not written")
				n.tale.said, n.tale.failed = n.last, true
			}
			r.told.keep(n.job.UID, n.tale)
			return nil
		}})
	}
	r.each(ctx, steps)
	r.told.forget(r.view.Jobs)
}

// news are the conditions to write in this round.
func (r *round) news(plan *lend.Plan) []news {
	var found []news
	add := func(job *jobs.Job, said jobs.Admission) {
		if n, is := r.newsOf(job, said); is {
			found = append(found, n)
		}
	}
	for i := range r.view.Snapshot.Loans {
		object := r.view.Loans[r.view.Snapshot.Loans[i].Name]
		job := r.view.Jobs[object.Spec.Job.UID]
		active := meta.FindStatusCondition(object.Status.Conditions, v1alpha1.LoanActive)
		if job != nil && !job.Suspended && active != nil && active.Status == metav1.ConditionTrue {
			add(job, jobs.Admission{Admitted: true, Reason: active.Reason, Message: active.Message})
		}
	}
	verdicts := verdictsOf(plan, lend.SubjectJob)
	for i := range r.view.Snapshot.Jobs {
		waiting := &r.view.Snapshot.Jobs[i]
		v, job := verdicts[waiting.Name], r.view.Jobs[types.UID(waiting.UID)]
		// One that is admitted now has a Loan in the next snapshot, or waits again.
		if v != nil && job != nil && v.Reason != lend.ReasonLent && v.Reason != lend.ReasonWithinNominal {
			add(job, jobs.Admission{Reason: v.Reason, Message: v.Message})
		}
	}
	slices.SortStableFunc(found, func(a, b news) int { return cmp.Compare(a.rank, b.rank) })
	return found[:min(mostTold, len(found))]
}

// newsOf tells whether a job is to be told something now.
func (r *round) newsOf(job *jobs.Job, said jobs.Admission) (n news, is bool) {
	now := r.Clock.Now()
	last := r.told.of(job)
	same := last.said.Admitted == said.Admitted && last.said.Reason == said.Reason
	early := now.Sub(last.at) < retellAfter
	if last.said == said || (early && (same || last.failed)) {
		return news{}, false
	}
	n = news{job: job.Ref, last: last.said, tale: tale{said: said, at: now}, rank: 1}
	switch {
	case same:
		n.rank = 2
	case said.Admitted || warnings[said.Reason]:
		n.rank = 0
	}
	return n, true
}

// of is what a job was told last, and when; at the zero time if that was before
// this process.
func (t *told) of(job *jobs.Job) tale {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, known := t.jobs[job.UID]; known {
		return last
	}
	return tale{said: job.Told}
}

func (t *told) keep(job types.UID, said tale) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.jobs == nil {
		t.jobs = map[types.UID]tale{}
	}
	t.jobs[job] = said
}

// forget drops all jobs that do not exist any more.
func (t *told) forget(existing map[types.UID]*jobs.Job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for uid := range t.jobs {
		if existing[uid] == nil {
			delete(t.jobs, uid)
		}
	}
}
