package past

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
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

// one is a Job: those of one name that were there one after the other differ in when they
// were created.
type one struct{ namespace, name, created string }

const (
	// alive has a series for each Job that is there. kube-state-metrics tells no UID, so
	// that the moment of its creation becomes a label.
	alive = `count_values by (namespace, job_name) ("created", kube_job_created)`
	// ofEach is what is told of each of them.
	ofEach = alive + ` * 0 + on (namespace, job_name) group_left() `
)

// told are questions about jobs, and where the answers go: of several days the latest
// counts, or their sum.
var told = []struct {
	what, query string
	take        func(j *job, value float64)
}{
	{"when jobs were created", "max_over_time((" + alive + ")[%s:1m])", func(*job, float64) {}},
	{"when jobs began to run", latest("kube_job_status_start_time"), func(j *job, v float64) { j.started = v }},
	{"when jobs ended", latest("kube_job_status_completion_time"), func(j *job, v float64) { j.ended = v }},
	{"how many pods jobs have", latest("kube_job_spec_parallelism"), func(j *job, v float64) { j.pods = int64(min(v, most)) }},
	// For how many minutes a job had pods that ran. It goes on to count where a job that was
	// taken back began again, and ends with those that failed or were deleted.
	{"how long jobs ran", "count_over_time((" + ofEach + "(max by (namespace, job_name) (kube_job_status_active) > 0))[%s:1m])",
		func(j *job, v float64) { j.active += time.Duration(min(v, 24*60+1)) * time.Minute }},
}

func latest(metric string) string {
	return "max_over_time((" + ofEach + "max by (namespace, job_name) (" + metric + "))[%s:1m])"
}

// jobs are those that were created in the window.
func (a *asker) jobs(ctx context.Context) ([]sim.Job, error) {
	all, names, err := a.told(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.unknown(ctx, names); err != nil {
		return nil, err
	}
	for i := range a.held {
		if p := &a.held[i]; p.ownerKind == "Job" {
			for _, j := range names[[2]string{p.namespace, p.owner}] {
				j.uneven = j.uneven || j.units != 0 && j.units != p.units
				j.units, j.flavor = max(j.units, p.units), a.flavorOf(p)
			}
		}
	}
	slices.SortFunc(all, func(x, y *job) int {
		return cmp.Or(cmp.Compare(x.created, y.created), strings.Compare(x.namespace, y.namespace), strings.Compare(x.name, y.name))
	})
	for _, same := range names {
		slices.SortFunc(same, func(x, y *job) int { return cmp.Compare(x.created, y.created) })
		for i, j := range same[1:] {
			j.name += fmt.Sprintf("#%d", i+2)
		}
	}
	return a.stream(all)
}

// told asks all questions about jobs, and returns those that were heard of, in no order, and
// by namespace and name.
func (a *asker) told(ctx context.Context) (all []*job, names map[[2]string][]*job, err error) {
	found, names := map[one]*job{}, map[[2]string][]*job{}
	for _, q := range told {
		err := a.days(ctx, q.what, q.query, func(_ int, labels map[string]string, v float64) {
			k := one{labels["namespace"], labels["job_name"], labels["created"]}
			created, err := strconv.ParseFloat(k.created, 64)
			if err != nil {
				return // Prometheus writes a number
			}
			j := found[k]
			if j == nil {
				j = &job{namespace: k.namespace, name: k.name, created: created, started: math.NaN(), ended: math.NaN(), pods: 1}
				found[k], names[[2]string{k.namespace, k.name}] = j, append(names[[2]string{k.namespace, k.name}], j)
				all = append(all, j)
			}
			q.take(j, v)
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return all, names, nil
}

// unknown counts the jobs that there were and of which nobody says when they were created.
func (a *asker) unknown(ctx context.Context, names map[[2]string][]*job) error {
	counted := map[[2]string]bool{}
	return a.days(ctx, "which jobs there were", "max by (namespace, job_name) (max_over_time(kube_job_spec_parallelism[%s]))", func(_ int, labels map[string]string, _ float64) {
		if k := [2]string{labels["namespace"], labels["job_name"]}; names[k] == nil && !counted[k] {
			counted[k] = true
			a.notes.Count("jobs left out because Prometheus does not say when they were created")
		}
	})
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
// what it ran before that counts as work if jobs save it.
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
