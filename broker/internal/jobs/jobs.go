// Package jobs adapts the kinds of training jobs to the few things the broker
// does with one: see it, admit it, stop it, and let it go on with fewer pods.
//
// There are two families. Suspendable kinds have a field that keeps them from
// running (Batch, Suspendable); gated kinds are pods, which the scheduler keeps
// from running until they have a Loan (Gated). A kind is one file. A Set is all
// of them.
//
// It promises that admitting and stopping happen to the very object that was
// decided about (its UID is a precondition of every write), that both are
// idempotent, and that nothing else of a job is ever changed. Of objects that
// make each other only the topmost is a job. It refuses to interpret: what a job
// may have is decided elsewhere.
package jobs

import (
	"context"
	"errors"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// ErrChanged: the job is gone, was replaced, has ended or is not as it was when
// it was decided about.
var ErrChanged = errors.New("the job has changed")

// Ref names one job object.
type Ref struct {
	Key types.NamespacedName
	UID types.UID
	// GroupKind is what Key is the name of; the zero GroupKind is a batch Job's.
	GroupKind schema.GroupKind
	// PodGroup is the name of the group of pods that the job is; empty for other kinds.
	PodGroup string
}

// RefOf names the job that a Loan is for.
func RefOf(loan *v1alpha1.Loan) Ref {
	job := &loan.Spec.Job
	return Ref{
		Key: types.NamespacedName{Namespace: loan.Namespace, Name: job.Name}, UID: job.UID,
		GroupKind: schema.FromAPIVersionAndKind(job.APIVersion, job.Kind).GroupKind(), PodGroup: job.PodGroup,
	}
}

// Gang is what a job needs to run: so many pods at once, each with so many units
// of a resource. It may change while the job waits.
type Gang struct {
	Pods        int64
	Resource    corev1.ResourceName
	UnitsPerPod int64
}

// Job is a training job of any kind.
type Job struct {
	Ref
	Kind schema.GroupVersionKind
	// SuspendPath is the JSON pointer of the field that keeps the job from running;
	// empty if it has none.
	SuspendPath string
	// Queue is the value of the queue label; empty if the job has none.
	Queue     string
	Created   time.Time
	Suspended bool
	// Finished: succeeded, failed for good or being deleted. It starts no pod any
	// more.
	Finished bool
	// Version changes whenever the object does.
	Version string
	// Attempt is how often it has been admitted; TakenBack is the attempt whose units
	// the scheduler took back by itself, 0 if none is.
	Attempt, TakenBack int32
	// Told is what the job's owner reads about that in the object, and Waits since when
	// that says without a break that it is not admitted; zero if it does not.
	Told  Admission
	Waits time.Time
	// Pods run at once, all made from Template. Where some of the job's pods ask for
	// units and others do not, only those count that do.
	Pods     int64
	Template corev1.PodTemplateSpec
	// MinPods is how many of them an elastic job can go on with; 0 if it stops whole.
	MinPods int64
	// IndexLabel is the label of the pods with their number, if an elastic job that gets
	// smaller keeps those of the lowest numbers: stopping another one would not make it
	// smaller. Empty if it goes on with any.
	IndexLabel string
	// Problem says why the job cannot be admitted as it is, naming the fields that
	// would have to change; empty if nothing is wrong with it.
	Problem string
	// CheckpointEvery and LastCheckpoint are what the job says of itself; zero if
	// it says nothing, or nothing that can be read.
	CheckpointEvery time.Duration
	LastCheckpoint  time.Time
}

// Kind is what the broker needs of a kind of job.
type Kind interface {
	// List returns the jobs of the kind that have a queue, but for those of which known
	// says that this version of them is known: there may be very many. known is called
	// once for each job.
	List(ctx context.Context, r client.Reader, known func(job types.UID, version string) bool) ([]Job, error)
	// Get returns one job, or an error that apierrors.IsNotFound knows.
	Get(ctx context.Context, r client.Reader, key types.NamespacedName) (Job, error)
	// Resume admits a suspended job as its attempt-th admission. It fails with
	// ErrChanged unless the job is suspended, unfinished, asks for the gang that was
	// decided about and was admitted exactly attempt-1 times; a repeated Resume of
	// the same attempt succeeds.
	Resume(ctx context.Context, job Ref, attempt int32, gang Gang) error
	// Suspend stops the job's pods, and forgets that the scheduler took units back. A
	// job that is gone, replaced or finished needs no stopping.
	Suspend(ctx context.Context, job Ref) error
	// SkipAttempt counts an admission that came to nothing, so that the next one
	// has another name. It changes nothing if the job is further already or gone.
	SkipAttempt(ctx context.Context, job Ref, attempt int32) error
}

// Resizer is a kind of which a job may be able to go on with fewer pods.
type Resizer interface {
	// Resize lets a job that runs go on with so many of its pods with units; it never
	// makes one larger. It fails with ErrChanged if the job is gone, was replaced, is
	// suspended or has ended, and otherwise if the job cannot do with so few. A job that
	// is as small already stays as it is. The next Suspend or Resume makes the job whole
	// again, in the same write. leaving are the names of pods that are to go, where its
	// controller stops those that are named, beside those that are on their way out.
	Resize(ctx context.Context, job Ref, pods int64, leaving ...string) error
}

// Teller is a kind that tells a job's owner, in the job itself, whether it is admitted.
type Teller interface {
	// Tell writes what the owner reads. last is what the job says so far, now when this
	// became known. A job that is gone or was replaced needs no telling.
	Tell(ctx context.Context, job Ref, last, a Admission, now time.Time) error
}

// attemptIn reads an admission count; what cannot be read counts as none.
func attemptIn(annotations map[string]string, key string) int32 {
	n, err := strconv.ParseInt(annotations[key], 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return int32(n)
}

// checkpoints reads what a job says about its checkpoints.
func checkpoints(annotations map[string]string) (every time.Duration, last time.Time) {
	return lend.ReadCheckpoints(annotations[v1alpha1.AnnotationCheckpointInterval], annotations[v1alpha1.AnnotationLastCheckpoint])
}

// UnitsOf is what a pod asks of a resource: its containers together, or its
// largest init container if that is more. A limit without a request counts, as
// it does once the API server has defaulted the pod. What it claims comes to that.
func UnitsOf(spec *corev1.PodSpec, resource corev1.ResourceName) int64 {
	of := func(c *corev1.Container) int64 {
		requests, limits := c.Resources.Requests[resource], c.Resources.Limits[resource]
		return max(requests.Value(), limits.Value())
	}
	var together, sidecars, largest int64
	for i := range spec.Containers {
		together += of(&spec.Containers[i])
	}
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars += of(c)
			largest = max(largest, sidecars)
			continue
		}
		largest = max(largest, sidecars+of(c))
	}
	return max(together+sidecars, largest) + v1alpha1.ClaimedUnits(spec, resource)
}

// Grace is how long the job's pods may take to stop.
func (j *Job) Grace() time.Duration {
	if s := j.Template.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return corev1.DefaultTerminationGracePeriodSeconds * time.Second
}
