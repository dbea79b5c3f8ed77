package jobs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Clients are what kinds read and write with.
type Clients struct {
	// Live reads around the caches.
	Live   client.Reader
	Client client.Writer
	Status client.SubResourceWriter
	// Clock may be nil, for the machine's.
	Clock clock.PassiveClock
}

// Set is kinds of jobs together. Its methods are those of a Kind; which one is meant is
// said by the job's Ref.
type Set struct {
	// Installed tells whether the API server has a kind, and whether it can be listed;
	// nil if all can. It is not asked about those that every cluster has.
	Installed func(schema.GroupVersionKind) bool

	kinds []kindOf
}

type kindOf struct {
	is   schema.GroupVersionKind
	kind Kind
	// optional: a cluster may not have it.
	optional bool
}

// NewSet is all kinds. chains knows who made pods.
func NewSet(c Clients, chains Chains, batch *Batch) *Set {
	s := &Set{}
	s.add(kindJob, batch, false)
	s.add(kindPod, &Gated{Live: c.Live, Client: c.Client, Status: c.Status, Chains: chains, Clock: c.Clock}, false)
	for _, about := range suspendables() {
		s.add(about.kind, &Suspendable{Live: c.Live, Client: c.Client, Status: c.Status, about: about}, true)
	}
	return s
}

func suspendables() []*about {
	return []*about{jobSet(), trainJob(), pyTorchJob(), mpiJob(), rayJob(), rayCluster()}
}

func (s *Set) add(is schema.GroupVersionKind, kind Kind, optional bool) {
	s.kinds = append(s.kinds, kindOf{is, kind, optional})
	slices.SortFunc(s.kinds, func(a, b kindOf) int { return cmp.Compare(a.is.String(), b.is.String()) })
}

// Field is a kind's field that keeps its objects from running.
type Field struct {
	Kind schema.GroupVersionKind
	// Path is a JSON pointer.
	Path string
}

// Fields are those of all suspendable kinds, a Job's included.
func Fields() []Field {
	fields := []Field{{kindJob, "/spec/suspend"}}
	for _, about := range suspendables() {
		fields = append(fields, Field{about.kind, (&Suspendable{about: about}).SuspendPath()})
	}
	return fields
}

// Of is the kind of that name, nil if there is none. The zero GroupKind is a Job's.
func (s *Set) Of(name schema.GroupKind) Kind {
	if name == (schema.GroupKind{}) {
		name = kindJob.GroupKind()
	}
	for _, k := range s.kinds {
		if k.is.GroupKind() == name {
			return k.kind
		}
	}
	return nil
}

// of is Of, or an error that names the job.
func (s *Set) of(ref Ref) (Kind, error) {
	if kind := s.Of(ref.GroupKind); kind != nil {
		return kind, nil
	}
	return nil, fmt.Errorf("job %s is of kind %s, which is not known", ref.Key, ref.GroupKind)
}

// List is Kind.List of every kind that is installed.
func (s *Set) List(ctx context.Context, r client.Reader, known func(types.UID, string) bool) ([]Job, error) {
	var all []Job
	for _, k := range s.kinds {
		if k.optional && s.Installed != nil && !s.Installed(k.is) {
			continue
		}
		jobs, err := k.kind.List(ctx, r, known)
		if err != nil {
			return nil, err
		}
		all = append(all, jobs...)
	}
	return all, nil
}

// Find is Kind.Get of the job's kind. The job that it returns may have another UID.
func (s *Set) Find(ctx context.Context, r client.Reader, ref Ref) (Job, error) {
	kind, err := s.of(ref)
	if err != nil {
		return Job{}, err
	}
	return kind.Get(ctx, r, ref.Key)
}

// Resume is Kind.Resume of the job's kind.
func (s *Set) Resume(ctx context.Context, ref Ref, attempt int32, gang Gang) error {
	kind, err := s.of(ref)
	if err != nil {
		return err
	}
	return kind.Resume(ctx, ref, attempt, gang)
}

// Suspend is Kind.Suspend of the job's kind.
func (s *Set) Suspend(ctx context.Context, ref Ref) error {
	kind, err := s.of(ref)
	if err != nil {
		return err
	}
	return kind.Suspend(ctx, ref)
}

// SkipAttempt is Kind.SkipAttempt of the job's kind.
func (s *Set) SkipAttempt(ctx context.Context, ref Ref, attempt int32) error {
	kind, err := s.of(ref)
	if err != nil {
		return err
	}
	return kind.SkipAttempt(ctx, ref, attempt)
}

// Resize is Resizer.Resize of the job's kind. It fails if no job of the kind is elastic.
func (s *Set) Resize(ctx context.Context, ref Ref, pods int64, leaving ...string) error {
	kind, err := s.of(ref)
	if err != nil {
		return err
	}
	resizer, can := kind.(Resizer)
	if !can {
		return fmt.Errorf("job %s is of kind %s, of which none is elastic", ref.Key, ref.GroupKind)
	}
	return resizer.Resize(ctx, ref, pods, leaving...)
}

// StopsNamed reports whether the job's controller stops the pods that Resize names. Another
// one stops others than those meant, unless as many are on their way out.
func (s *Set) StopsNamed(ref Ref) bool {
	kind, err := s.of(ref)
	told, can := kind.(interface{ StopsNamed() bool })
	return err == nil && can && told.StopsNamed()
}

// Tell is Teller.Tell of the job's kind.
func (s *Set) Tell(ctx context.Context, ref Ref, last, a Admission, now time.Time) error {
	kind, err := s.of(ref)
	if err != nil {
		return err
	}
	if teller, can := kind.(Teller); can {
		return teller.Tell(ctx, ref, last, a, now)
	}
	return nil
}
