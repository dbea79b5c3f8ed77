package past

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload/gang"
)

// job is a Kubernetes Job as kube-state-metrics told of it. Times are in seconds since the
// Unix epoch, not a number where that was not told.
type job struct {
	namespace, name         string
	created, started, ended float64
	active                  time.Duration
	pods                    int64
	units                   int64 // of a pod
	uneven                  bool
	flavor                  string
}

// questions about jobs, and where the answers go: of several days the latest counts, or
// their sum.
var questions = []struct {
	what, query string
	take        func(j *job, value float64)
}{
	{"when jobs were created", "kube_job_created", func(j *job, v float64) { j.created = v }},
	{"when jobs began to run", "kube_job_status_start_time", func(j *job, v float64) { j.started = v }},
	{"when jobs ended", "kube_job_status_completion_time", func(j *job, v float64) { j.ended = v }},
	{"how many pods jobs have", "kube_job_spec_parallelism", func(j *job, v float64) { j.pods = int64(min(v, most)) }},
}

// jobs are those that were created in the window.
func (a *asker) jobs(ctx context.Context) ([]sim.Job, error) {
	type key struct{ namespace, name string }
	found := map[key]*job{}
	at := func(labels map[string]string) *job {
		k := key{labels["namespace"], labels["job_name"]}
		if found[k] == nil {
			found[k] = &job{namespace: k.namespace, name: k.name, created: math.NaN(), started: math.NaN(), ended: math.NaN(), pods: 1}
		}
		return found[k]
	}
	for _, q := range questions {
		err := a.days(ctx, q.what, "max by (namespace, job_name) (max_over_time("+q.query+"[%s]))", func(_ int, labels map[string]string, v float64) {
			q.take(at(labels), v)
		})
		if err != nil {
			return nil, err
		}
	}
	// For how many minutes a job had pods that ran. It goes on to count where a job that was
	// taken back began again, and ends with those that failed or were deleted.
	err := a.days(ctx, "how long jobs ran", "count_over_time((max by (namespace, job_name) (kube_job_status_active) > 0)[%s:1m])", func(_ int, labels map[string]string, v float64) {
		at(labels).active += time.Duration(min(v, 24*60+1)) * time.Minute
	})
	if err != nil {
		return nil, err
	}
	for i := range a.held {
		if p := &a.held[i]; p.ownerKind == "Job" {
			if j := found[key{p.namespace, p.owner}]; j != nil {
				j.uneven = j.uneven || j.units != 0 && j.units != p.units
				j.units, j.flavor = max(j.units, p.units), a.flavorOf(p)
			}
		}
	}
	var all []*job
	for _, j := range found {
		all = append(all, j)
	}
	slices.SortFunc(all, func(x, y *job) int {
		return cmp.Or(cmp.Compare(x.created, y.created), strings.Compare(x.namespace, y.namespace), strings.Compare(x.name, y.name))
	})
	return a.stream(all)
}

// stream makes jobs of what was told of them.
func (a *asker) stream(all []*job) ([]sim.Job, error) {
	i := 0
	s := gang.NewStream(a.window.Jobs, a.notes, func() (gang.Record, bool, error) {
		for ; i < len(all); i++ {
			if r, ok := a.record(all[i]); ok {
				i++
				return r, true, nil
			}
		}
		return gang.Record{}, false, nil
	})
	var jobs []sim.Job
	for {
		j, ok, err := s.Next()
		if err != nil || !ok {
			return jobs, err
		}
		jobs = append(jobs, j)
	}
}

// record is a job; ok is false for one that is left out.
func (a *asker) record(j *job) (r gang.Record, ok bool) {
	switch {
	case math.IsNaN(j.created):
		a.notes.Count("jobs left out because Prometheus does not say when they were created")
		return r, false
	case j.units == 0:
		a.notes.Count("jobs left out because no pod of theirs was seen to ask for GPUs")
		return r, false
	case j.pods > most/j.units:
		a.notes.Count("jobs left out because their pods ask for more than a million GPUs together")
		return r, false
	}
	j.pods = max(j.pods, 1)
	r = gang.Record{
		Name: j.namespace + "/" + j.name, Tenant: a.of(j.namespace), Flavor: j.flavor,
		Submit: time.Unix(0, 0).Add(time.Duration(j.created * float64(time.Second))).Sub(a.window.Start),
		Ran:    a.ran(j), Units: j.pods * j.units, Pods: j.pods,
	}
	if j.uneven {
		a.notes.Count("jobs of pods of different sizes, counted as if all were of the largest")
	}
	return r, true
}

// ran is how long a job worked. kube-state-metrics says when one that completed last began;
// what it ran before that counts as work if jobs save it. One that ended before it began is
// two of one name: the second had not completed.
func (a *asker) ran(j *job) time.Duration {
	last := time.Duration((j.ended - j.started) * float64(time.Second)) // of NaN it is not used
	switch whole := j.ended >= j.started; {
	case whole && j.active > last+2*time.Minute && a.window.Jobs.Costs.CheckpointEvery > 0:
		a.notes.Count("jobs begun anew, all of whose runs count as work, since they save it")
		return j.active
	case whole:
		return last
	case j.active == 0:
		return 0
	}
	a.notes.Count("jobs that had not completed, or failed, counted with the minutes that they ran in the window")
	return j.active
}
