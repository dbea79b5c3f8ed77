package ebbtide

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

const (
	// readAgain is how soon what could not be read is read again.
	readAgain = time.Second
	// readPatience bounds one read.
	readPatience = 5 * time.Second
)

// said is what jobs say of themselves whose kinds are not watched, by their loans: each
// is read once when its loan is seen, and once more when this scheduler begins to place
// pods. Until then another one may have taken the loan back, of which the job tells; so
// nobody starts on the loan before that was read.
type said struct {
	mu   sync.Mutex
	jobs map[types.UID]*saying
	kick chan struct{}
}

type saying struct {
	loan        *v1alpha1.Loan
	annotations map[string]string
	unread      bool
	// awaited: no pod starts on the loan until it was read.
	awaited bool
}

func newSaid() *said { return &said{jobs: map[types.UID]*saying{}, kick: make(chan struct{}, 1)} }

// ask has the loan's job read.
func (s *said) ask(loan *v1alpha1.Loan, awaited bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[loan.UID] == nil {
		s.jobs[loan.UID] = &saying{loan: loan}
	}
	known := s.jobs[loan.UID]
	known.unread, known.awaited = true, known.awaited || awaited
	select {
	case s.kick <- struct{}{}:
	default: // it is to be read anyway
	}
}

// hear notes what was read.
func (s *said) hear(loan types.UID, annotations map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.jobs[loan]; known != nil {
		known.annotations, known.unread, known.awaited = annotations, false, false
	}
}

func (s *said) forget(loan types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.jobs, loan)
}

// of returns the annotations of the loan's job as they were read last.
func (s *said) of(loan types.UID) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.jobs[loan]; known != nil {
		return known.annotations
	}
	return nil
}

func (s *said) awaits(loan types.UID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.jobs[loan]
	return known != nil && known.awaited
}

// unread returns the loans whose jobs are to be read: first those that pods wait for.
func (s *said) unread() []*v1alpha1.Loan {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*saying
	for _, known := range s.jobs {
		if known.unread {
			all = append(all, known)
		}
	}
	slices.SortFunc(all, func(a, b *saying) int {
		if a.awaited != b.awaited {
			if a.awaited {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.loan.UID, b.loan.UID)
	})
	loans := make([]*v1alpha1.Loan, len(all))
	for i, known := range all {
		loans[i] = known.loan
	}
	return loans
}

// unwatched reports whether the loan's job is to be read: it can carry word of a
// take-back, and is of no kind that is watched.
func (p *Ebbtide) unwatched(loan *v1alpha1.Loan) bool {
	return !batch(loan) && suspendPath(loan) != "" && p.kin.Get(kindOf(loan).GroupKind(), loan.Namespace, loan.Spec.Job.Name) == nil
}

// askAll has the jobs of all open loans read, before pods are placed on them.
func (p *Ebbtide) askAll() {
	for _, loan := range p.book.Loans() {
		if p.unwatched(loan) {
			p.said.ask(loan, true)
		}
	}
}

// annotationsOf returns the annotations of the loan's job, as far as they are known.
func (p *Ebbtide) annotationsOf(loan *v1alpha1.Loan) map[string]string {
	switch {
	case batch(loan):
		if job := p.jobOf(loan); job != nil {
			return job.Annotations
		}
		return nil
	case gated(loan):
		if pod := p.leadOf(loan); pod != nil {
			return pod.Annotations
		}
		return nil
	}
	if job := p.kin.Get(kindOf(loan).GroupKind(), loan.Namespace, loan.Spec.Job.Name); job != nil && job.UID == loan.Spec.Job.UID {
		return job.Annotations
	}
	return p.said.of(loan.UID)
}

// runReader reads what jobs say, one after the other, until ctx ends.
func (p *Ebbtide) runReader(ctx context.Context) {
	for {
		var again <-chan time.Time
		if err := p.readSaid(ctx); err != nil {
			klog.FromContext(ctx).Error(err, "Cannot read what jobs say; will retry")
			again = p.clock.After(readAgain)
		}
		select {
		case <-ctx.Done():
			return
		case <-p.said.kick:
		case <-again:
		}
	}
}

// readSaid reads what is unread. A kind of which one cannot be read is left for the next
// time; it keeps no others waiting.
func (p *Ebbtide) readSaid(ctx context.Context) error {
	var errs []error
	failed := map[schema.GroupVersionKind]bool{}
	for _, loan := range p.said.unread() {
		kind := kindOf(loan)
		if failed[kind] {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, readPatience)
		job, err := p.objects.read(bounded, loan)
		cancel()
		if err != nil {
			failed[kind] = true
			errs = append(errs, fmt.Errorf("read %s %s: %w", loan.Spec.Job.Kind, klog.KRef(loan.Namespace, loan.Spec.Job.Name), err))
			continue
		}
		var annotations map[string]string
		if job != nil {
			annotations = job.Annotations
		}
		p.said.hear(loan.UID, annotations)
		p.restore(p.book.LoanOfJob(loan.Namespace, loan.Spec.Job.UID))
		p.activate(klog.FromContext(ctx), p.pendingOf(loan))
	}
	return errors.Join(errs...)
}
