package gather

import (
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// ReasonLendAborted of a job: its last admission came to nothing.
const ReasonLendAborted = "LendAborted"

// How long a job whose admission came to nothing is not tried again: the first
// time, and at most. Each time in a row doubles it.
const (
	firstSetback = time.Second
	mostSetback  = time.Minute
)

// Setbacks remembers the jobs whose admission was decided and came to nothing, so
// that one that cannot succeed is not tried with every decision. The zero value is
// ready to use, and nil remembers nothing.
type Setbacks struct {
	mu   sync.Mutex
	jobs map[types.UID]setback
}

type setback struct {
	times int
	until time.Time
	cause string
}

// Note counts an admission that came to nothing at now.
func (s *Setbacks) Note(job types.UID, now time.Time, cause string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs == nil {
		s.jobs = map[types.UID]setback{}
	}
	last := s.jobs[job]
	pause := firstSetback
	for range min(last.times, 10) {
		pause = min(2*pause, mostSetback)
	}
	s.jobs[job] = setback{last.times + 1, now.Add(pause), cause}
}

// Forget ends the count: the job was admitted.
func (s *Setbacks) Forget(job types.UID) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.jobs, job)
}

// problem says why a job is not tried at now; nil if it is.
func (s *Setbacks) problem(job types.UID, now time.Time) *lend.Problem {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.jobs[job]
	if !known || !now.Before(last.until) {
		return nil
	}
	return &lend.Problem{
		Reason:  ReasonLendAborted,
		Message: fmt.Sprintf("its last admission came to nothing: %s; tried again after %s", last.cause, last.until.UTC().Format(time.RFC3339)),
	}
}

// none tells whether nothing is remembered.
func (s *Setbacks) none() bool {
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.jobs) == 0
}

// keep forgets all jobs that do not exist any more.
func (s *Setbacks) keep(exists func(types.UID) bool) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for uid := range s.jobs {
		if !exists(uid) {
			delete(s.jobs, uid)
		}
	}
}
