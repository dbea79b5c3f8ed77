package gang

import (
	"fmt"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// Record is what a history says of one job.
type Record struct {
	// Name and Tenant; the stream makes them one name.
	Name, Tenant string
	// Submit is when it arrived, since the origin; Ran how long it worked undisturbed.
	Submit, Ran time.Duration
	// Units of the whole job; Pods they are in, 0 if that is not said.
	Units, Pods int64
	// MinPods, Priority, Flavor and Saves, how often it saves its work, if they are said.
	MinPods  int64
	Priority int32
	Flavor   string
	Saves    time.Duration
	// Queue that it was submitted to, of which nothing before the / is the job's namespace.
	Queue string
}

// Stream gives the jobs of a history in the order of their submission. It is a sim.Jobs.
type Stream struct {
	options Options
	next    func() (Record, bool, error)
	notes   *Notes
}

// NoGPU is the note about jobs that have none.
const NoGPU = "jobs left out because they asked for no GPU"

// NewStream makes jobs of records: next gives one after the other, ok is false after the
// last. It may tell the notes what it leaves out.
func NewStream(o Options, notes *Notes, next func() (r Record, ok bool, err error)) *Stream {
	return &Stream{options: o, next: next, notes: notes}
}

// Notes are what was assumed and left out of what was read so far, in words.
func (s *Stream) Notes() []string { return s.notes.List() }

// Next implements sim.Jobs. Jobs from before the origin, without GPUs and without run time
// are left out.
func (s *Stream) Next() (sim.Job, bool, error) {
	for {
		r, ok, err := s.next()
		switch {
		case err != nil || !ok:
			return sim.Job{}, false, err
		case r.Submit < 0:
			s.notes.Count("jobs left out because they were submitted before the beginning")
		case r.Units < 1:
			s.notes.Count(NoGPU)
		case r.Ran <= 0:
			s.notes.Count("jobs left out because they ran for no time")
		default:
			j, err := s.job(r)
			return j, err == nil, err
		}
	}
}

// most is more GPUs than a job has.
const most = 1_000_000

func (s *Stream) job(r Record) (sim.Job, error) {
	j := sim.Job{
		Name: Name(r.Tenant, r.Name), Tenant: r.Tenant, Queue: s.queue(&r), Priority: r.Priority,
		Submit: r.Submit, Duration: r.Ran, Flavor: s.options.flavor(r.Flavor),
		Pods: r.Pods, MinPods: r.MinPods, Costs: s.options.Costs,
	}
	if r.Pods == 0 {
		j.Pods, j.UnitsPerPod = Cut(r.Units, s.options.MostPodUnits())
	} else {
		j.UnitsPerPod = r.Units / r.Pods
	}
	if r.Saves > 0 {
		j.CheckpointEvery = r.Saves
	}
	if r.Units > most {
		return sim.Job{}, fmt.Errorf("job %s: has %d GPUs, must have at most %d", j.Name, r.Units, most)
	}
	if j.Units() != r.Units || j.MinPods > j.Pods {
		return sim.Job{}, fmt.Errorf("job %s: %d GPUs in %d pods, of which %d are enough: must be equal pods, and no more enough than there are", j.Name, r.Units, j.Pods, j.MinPods)
	}
	return j, nil
}

// queue is the one that a job names, or else its tenant's, if jobs are to have one.
func (s *Stream) queue(r *Record) string {
	switch {
	case r.Queue == "" && s.options.Unqueued:
		return ""
	case r.Queue == "":
		return Queue(r.Tenant)
	case strings.Contains(r.Queue, "/"):
		return r.Queue
	}
	namespace, _, _ := strings.Cut(Name(r.Tenant, r.Name), "/")
	return namespace + "/" + r.Queue
}

// Queue is the name of the queue into which a tenant's jobs go that name none.
func Queue(tenant string) string { return tenant + "/default" }

// Name of a job is namespace/name, with the tenant as the namespace if it has none.
func Name(tenant, name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return tenant + "/" + name
}
