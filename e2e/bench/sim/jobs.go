package sim

import (
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload"
	"github.com/ebbtide/ebbtide/e2e/traces"
)

// stream is the trace from some moment on, with each job as often as is wanted, after some
// that wait from the beginning on.
type stream struct {
	first, all workload.Jobs
	waiting    int // how many of the first are still to be played
	from       time.Duration
	copies     float64
	cluster    string
	// owed is how much of a job is still to be played, made how many there were of this one.
	owed float64
	job  sim.Job
	made int
	left int
}

func (t *Town) jobs() (sim.Jobs, error) {
	s := &stream{waiting: t.Backlog, from: t.From, copies: t.Copies, cluster: t.Cluster}
	for _, trace := range []*workload.Jobs{&s.first, &s.all} {
		all, err := traces.AllITPJobs(workload.Options{Costs: costs})
		if err != nil {
			return nil, err
		}
		*trace = all
	}
	return s, nil
}

// Next is that of sim.Jobs.
func (s *stream) Next() (sim.Job, bool, error) {
	for s.waiting > 0 {
		j, ok, err := s.first.Next()
		if err != nil || !ok {
			return sim.Job{}, false, err
		}
		if s.plays(&j) {
			s.waiting--
			j.Name, j.Submit = j.Name+"-before", 0
			return j, true, nil
		}
	}
	for s.left == 0 {
		j, ok, err := s.all.Next()
		if err != nil || !ok {
			return sim.Job{}, false, err
		}
		if j.Submit < s.from || !s.plays(&j) {
			continue
		}
		j.Submit -= s.from
		s.owed += s.copies
		s.left = int(s.owed)
		s.owed -= float64(s.left)
		s.job, s.made = j, 0
	}
	j := s.job
	if s.made > 0 {
		j.Name = fmt.Sprintf("%s-%d", j.Name, s.made)
	}
	s.left--
	s.made++
	return j, true, nil
}

func (s *stream) plays(j *sim.Job) bool { return s.cluster == "" || j.Tenant == s.cluster }
