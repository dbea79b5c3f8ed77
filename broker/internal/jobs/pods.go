package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

var kindPod = corev1.SchemeGroupVersion.WithKind("Pod")

// annotationSkipped on a pod is the last of its admissions that came to nothing. Unlike
// on other kinds, AnnotationAttempt on a pod says that it is admitted.
const annotationSkipped = "ebbtide.dev/skipped-attempts"

// Chains knows who made a pod.
type Chains interface {
	// Chain is who controls the pod, who controls that, and so on; complete is false if
	// somebody may be above the last that is not known yet.
	Chain(pod metav1.Object) (chain []lineage.Owner, complete bool)
}

// Gated is pods that no object with a suspend field has made: a pod by itself, also one
// of a Deployment, a ReplicaSet or a StatefulSet; pods of a group (see v1alpha1's
// LabelPodGroup); and each group of a LeaderWorkerSet. The scheduler keeps them from
// running. One pod stands for its group: its UID and name are the job's.
//
// Such a job is stopped by the end of its pods, for good: what their controllers make
// instead is another job. Admitted is one whose pod has AnnotationAttempt, or a node.
type Gated struct {
	// Live reads around the caches, Client writes, Status writes what Tell says.
	Live   client.Reader
	Client client.Writer
	Status client.SubResourceWriter
	Chains Chains
	// Store, if set, has all pods, and is listed instead of the reader: a reader's list is a
	// copy of every pod, also of those that are known.
	Store Store
	// Clock is asked when a pod is told to end; nil is the machine's.
	Clock clock.PassiveClock
}

var (
	_ Kind   = (*Gated)(nil)
	_ Teller = (*Gated)(nil)
)

// List implements Kind. A pod of which it is not known yet who made it is left out.
func (g *Gated) List(ctx context.Context, r client.Reader, known func(types.UID, string) bool) ([]Job, error) {
	queued, err := g.queued(ctx, r)
	if err != nil {
		return nil, err
	}
	var jobs []Job
	for _, b := range g.bundles(queued) {
		if b.lead() != nil && !known(b.lead().UID, b.version()) {
			jobs = append(jobs, b.job())
		}
	}
	return jobs, nil
}

// queued are the pods that have a queue.
func (g *Gated) queued(ctx context.Context, r client.Reader) ([]*corev1.Pod, error) {
	if g.Store == nil {
		var list corev1.PodList
		if err := r.List(ctx, &list, client.HasLabels{v1alpha1.LabelQueue}, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list pods: %w", err)
		}
		return pointers(list.Items), nil
	}
	var pods []*corev1.Pod
	for _, object := range g.Store.List() {
		if pod, ok := object.(*corev1.Pod); ok {
			if _, queued := pod.Labels[v1alpha1.LabelQueue]; queued {
				pods = append(pods, pod)
			}
		}
	}
	return pods, nil
}

func pointers(pods []corev1.Pod) []*corev1.Pod {
	all := make([]*corev1.Pod, len(pods))
	for i := range pods {
		all[i] = &pods[i]
	}
	return all
}

// Get implements Kind: the job that the pod of that name is of. Another pod may stand
// for it by now.
func (g *Gated) Get(ctx context.Context, r client.Reader, key types.NamespacedName) (Job, error) {
	b, err := g.read(ctx, r, key)
	if err != nil {
		return Job{}, err
	}
	return b.job(), nil
}

// read returns the pods that belong together with the one of that name.
func (g *Gated) read(ctx context.Context, r client.Reader, key types.NamespacedName) (*bundle, error) {
	var pod corev1.Pod
	if err := r.Get(ctx, key, &pod); err != nil {
		return nil, fmt.Errorf("read pod %s: %w", key, err)
	}
	one := []*corev1.Pod{&pod}
	if label, is := siblings(&pod); is {
		var err error
		if one, err = g.labelled(ctx, r, key.Namespace, label, pod.Labels[label]); err != nil {
			return nil, err
		}
	}
	for _, b := range g.bundles(one) {
		if b.has(pod.UID) && b.lead() != nil {
			return b, nil
		}
	}
	// It is a part of some other kind of job, or it went meanwhile.
	return nil, fmt.Errorf("read pod %s: %w", key, apierrors.NewNotFound(corev1.Resource("pods"), key.Name))
}

// labelled are the pods in queues that have the label: any other may be given it.
func (g *Gated) labelled(ctx context.Context, r client.Reader, namespace, label, value string) ([]*corev1.Pod, error) {
	var list corev1.PodList
	if err := r.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{label: value}, client.HasLabels{v1alpha1.LabelQueue}); err != nil {
		return nil, fmt.Errorf("list the pods with label %s=%s in namespace %s: %w", label, value, namespace, err)
	}
	return pointers(list.Items), nil
}

// Resume implements Kind. The scheduler may have let pods go as soon as there was a
// Loan, and so they may have nodes already.
func (g *Gated) Resume(ctx context.Context, ref Ref, attempt int32, gang Gang) error {
	b, err := g.read(ctx, g.Live, ref.Key)
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%w: it is gone", ErrChanged)
	}
	if err != nil {
		return err
	}
	now := b.job()
	now.Suspended = now.Suspended || b.attempt() == 0
	if done, err := admissible(&now, ref, attempt, gang); done || err != nil {
		return err
	}
	// The one that stands for them comes last: when it says so, all do. What is left of an
	// earlier group of that name comes first: it was not admitted with these.
	for i := len(b.pods) - 1; i >= 0; i-- {
		pod, says := b.pods[i], annotation(attempt)
		switch {
		case over(pod) && admissions(pod) > 0:
			says = nil
		case gone(pod):
			continue
		}
		if err := g.annotate(ctx, pod, map[string]*string{v1alpha1.AnnotationAttempt: says}); err != nil {
			return err
		}
	}
	return nil
}

// Suspend implements Kind: it marks and deletes the pods, each with its own grace, unless
// they wait. The one that stands for them goes first: what is made of it goes with it. Where
// that one is gone already, the rest of its group goes, but for what waits.
func (g *Gated) Suspend(ctx context.Context, ref Ref) error {
	pods, err := g.running(ctx, ref)
	pods = slices.DeleteFunc(slices.Clone(pods), gone)
	if len(pods) == 0 {
		return err
	}
	errs := make([]error, len(pods))
	errs[0] = g.end(ctx, pods[0])
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, pod := range pods[1:] {
		group.Go(func() error {
			errs[i+1] = g.end(ctx, pod)
			return nil
		})
	}
	_ = group.Wait() // errors are in errs
	return errors.Join(errs...)
}

// atOnce is how many pods of a group are ended side by side.
const atOnce = 16

// end marks and deletes a pod. It ends even if nobody can be told why.
func (g *Gated) end(ctx context.Context, pod *corev1.Pod) error {
	if err := Excuse(ctx, g.Status, pod, g.now()); err != nil {
		logr.FromContextOrDiscard(ctx).Info("The pod's end may count as its failure", "reason", err.Error())
	}
	err := client.IgnoreNotFound(g.Client.Delete(ctx, pod.DeepCopy(), client.Preconditions{UID: &pod.UID}))
	if err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete pod %s: %w", client.ObjectKeyFromObject(pod), err)
	}
	return nil
}

func (g *Gated) now() time.Time {
	if g.Clock == nil {
		return time.Now()
	}
	return g.Clock.Now()
}

// running are the pods that have to end so that the job stops.
func (g *Gated) running(ctx context.Context, ref Ref) ([]*corev1.Pod, error) {
	b, err := g.read(ctx, g.Live, ref.Key)
	if client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	if err == nil && b.lead().UID == ref.UID {
		if now := b.job(); now.Finished || now.Suspended {
			return nil, nil
		}
		return b.pods, nil
	}
	if ref.PodGroup == "" {
		return nil, nil
	}
	pods, err := g.labelled(ctx, g.Live, ref.Key.Namespace, v1alpha1.LabelPodGroup, ref.PodGroup)
	if err != nil {
		return nil, err
	}
	group := bundleID{ref.Key.Namespace, grouped, ref.PodGroup}
	var rest []*corev1.Pod
	for _, b := range g.bundles(pods) {
		for _, pod := range b.pods {
			if b.id == group && (pod.Spec.NodeName != "" || admissions(pod) > 0) {
				rest = append(rest, pod)
			}
		}
	}
	return rest, nil
}

// SkipAttempt implements Kind.
func (g *Gated) SkipAttempt(ctx context.Context, ref Ref, attempt int32) error {
	b, err := g.read(ctx, g.Live, ref.Key)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	if b.lead().UID != ref.UID || max(b.attempt(), b.skipped()) >= attempt {
		return nil
	}
	return g.annotate(ctx, b.lead(), map[string]*string{annotationSkipped: annotation(attempt)})
}

func (g *Gated) annotate(ctx context.Context, pod *corev1.Pod, annotations map[string]*string) error {
	object := &corev1.Pod{}
	object.Namespace, object.Name = pod.Namespace, pod.Name
	return patch(ctx, g.Client, object, metadataPatch{UID: pod.UID, Annotations: annotations}, nil)
}

// Tell implements Teller, by a condition of the pod that stands for the job.
func (g *Gated) Tell(ctx context.Context, ref Ref, last, a Admission, now time.Time) error {
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = ref.Key.Namespace, ref.Key.Name
	return tellCondition(ctx, g.Status, pod, ref, last, a, now)
}

// toldPod reads the condition back, and since when it is false.
func toldPod(pod *corev1.Pod) (said Admission, waits time.Time) {
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		if c.Type == v1alpha1.ConditionAdmitted {
			return saying(c.Status, c.Reason, c.Message, c.LastTransitionTime)
		}
	}
	return Admission{}, time.Time{}
}

// admissions is how often the pod was admitted, as far as it says.
func admissions(pod *corev1.Pod) int32 { return attemptIn(pod.Annotations, v1alpha1.AnnotationAttempt) }

// over: it starts no container any more.
func over(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// gone: it runs no more, or not for long.
func gone(pod *corev1.Pod) bool { return over(pod) || pod.DeletionTimestamp != nil }
