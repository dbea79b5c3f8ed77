package jobs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Suspendable is a kind that has a field which keeps its objects from running. It reads
// objects as the API server has them, without the kind's own Go types.
type Suspendable struct {
	// Live reads around the caches: a write is never based on a stale view.
	Live client.Reader
	// Client writes; Status writes what Tell says, where the kind has conditions.
	Client client.Writer
	Status client.SubResourceWriter
	// Store, if set, has all objects of the kind, and is listed instead of the reader.
	Store Store

	about *about
}

var (
	_ Kind    = (*Suspendable)(nil)
	_ Resizer = (*Suspendable)(nil)
	_ Teller  = (*Suspendable)(nil)
)

// about describes a kind. Its functions read an object only.
type about struct {
	kind schema.GroupVersionKind
	// suspend is the path of the field that keeps an object from running.
	suspend []string
	// conditions: the kind's operator leaves conditions that are not its own as they
	// are, and they are those of the API conventions. Else Tell writes an annotation.
	conditions bool
	// ended tells whether an object has succeeded, or failed for good.
	ended func(o *unstructured.Unstructured) bool
	// sets are an object's pods, and what is wrong with it: part is what the object has
	// made that its pods follow from, nil if it made nothing of that kind yet, or if the
	// kind has no such part.
	sets func(o, part *unstructured.Unstructured) (sets []podSet, problem string, err error)
	// part names what sets needs; nil if that is the object alone.
	part func(o *unstructured.Unstructured) (schema.GroupVersionKind, string)
	// grows names the object of the object's own whose size is changed while it runs;
	// nil if it is the object itself.
	grows func(o *unstructured.Unstructured) (*about, string)
	// runs names the object of the object's own that runs the pods, if its controller keeps
	// that one as suspended as the object is.
	runs func(o *unstructured.Unstructured) (*about, string)
	// jobs: what runs the pods are Jobs that the object controls.
	jobs bool
	// resize writes the sizes of sets into the fields of a merge patch, and by the names
	// of the sets which of their pods are on their way out; nil if none of the kind's jobs
	// is elastic.
	resize func(o *unstructured.Unstructured, fields map[string]any, to sizes, going map[string][]string) error
	// setOf is the label with a pod's set, if the controller has to be told which pods
	// go: else it stops others.
	setOf string
	// indexLabel is a Job's IndexLabel, if its controller cannot be told.
	indexLabel string
}

// Kind is what the objects are.
func (s *Suspendable) Kind() schema.GroupVersionKind { return s.about.kind }

// SuspendPath is the JSON pointer of the field that keeps an object from running.
func (s *Suspendable) SuspendPath() string { return "/" + strings.Join(s.about.suspend, "/") }

// List implements Kind. Where the kind is not installed, there are none.
func (s *Suspendable) List(ctx context.Context, r client.Reader, known func(types.UID, string) bool) ([]Job, error) {
	objects, err := s.all(ctx, r)
	if err != nil {
		return nil, err
	}
	var jobs []Job
	for _, o := range objects {
		if _, queued := o.GetLabels()[v1alpha1.LabelQueue]; !queued || partOfJob(o) {
			continue
		}
		part, err := s.partOf(ctx, r, o)
		if err != nil {
			return nil, err
		}
		if !known(o.GetUID(), version(o, part)) {
			jobs = append(jobs, s.job(o, part))
		}
	}
	return jobs, nil
}

// all are the objects with a queue, and perhaps others.
func (s *Suspendable) all(ctx context.Context, r client.Reader) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	if s.Store != nil {
		for _, object := range s.Store.List() {
			if o, ok := object.(*unstructured.Unstructured); ok {
				objects = append(objects, o)
			}
		}
		return objects, nil
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(s.about.kind.GroupVersion().WithKind(s.about.kind.Kind + "List"))
	err := r.List(ctx, list, client.HasLabels{v1alpha1.LabelQueue}, client.UnsafeDisableDeepCopy)
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list objects of kind %s: %w", s.about.kind.Kind, err)
	}
	for i := range list.Items {
		objects = append(objects, &list.Items[i])
	}
	return objects, nil
}

// Get implements Kind.
func (s *Suspendable) Get(ctx context.Context, r client.Reader, key types.NamespacedName) (Job, error) {
	_, job, err := s.read(ctx, r, key)
	return job, err
}

// read returns an object with the job that it is.
func (s *Suspendable) read(ctx context.Context, r client.Reader, key types.NamespacedName) (*unstructured.Unstructured, Job, error) {
	o, err := s.get(ctx, r, s.about.kind, key)
	if err != nil {
		return nil, Job{}, err
	}
	part, err := s.partOf(ctx, r, o)
	if err != nil {
		return nil, Job{}, err
	}
	return o, s.job(o, part), nil
}

func (s *Suspendable) get(ctx context.Context, r client.Reader, kind schema.GroupVersionKind, key types.NamespacedName) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kind)
	if err := r.Get(ctx, key, o); err != nil {
		if meta.IsNoMatchError(err) {
			err = apierrors.NewNotFound(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, key.Name)
		}
		return nil, fmt.Errorf("read %s %s: %w", kind.Kind, key, err)
	}
	return o, nil
}

// partOf is what the object has made that its pods follow from, nil if there is
// nothing of the kind yet.
func (s *Suspendable) partOf(ctx context.Context, r client.Reader, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if s.about.part == nil {
		return nil, nil
	}
	kind, name := s.about.part(o)
	return s.owned(ctx, r, o, kind, name)
}

// owned reads what the object controls, nil if there is none of that name.
func (s *Suspendable) owned(ctx context.Context, r client.Reader, o *unstructured.Unstructured, kind schema.GroupVersionKind, name string) (*unstructured.Unstructured, error) {
	if name == "" {
		return nil, nil
	}
	part, err := s.get(ctx, r, kind, types.NamespacedName{Namespace: o.GetNamespace(), Name: name})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !metav1.IsControlledBy(part, o) {
		return nil, nil // another's
	}
	return part, nil
}

// version changes whenever the object does, or what its pods follow from.
func version(o, part *unstructured.Unstructured) string {
	if part == nil {
		return o.GetResourceVersion()
	}
	return o.GetResourceVersion() + "/" + part.GetResourceVersion()
}

// job is what the broker needs to know of an object.
func (s *Suspendable) job(o, part *unstructured.Unstructured) Job {
	annotations := o.GetAnnotations()
	suspended, ended := s.State(o)
	j := Job{
		Ref:         Ref{Key: client.ObjectKeyFromObject(o), UID: o.GetUID(), GroupKind: s.about.kind.GroupKind()},
		Kind:        s.about.kind,
		SuspendPath: s.SuspendPath(),
		Queue:       o.GetLabels()[v1alpha1.LabelQueue],
		Created:     o.GetCreationTimestamp().UTC(),
		Suspended:   suspended,
		Finished:    ended,
		Version:     version(o, part),
		Attempt:     attemptIn(annotations, v1alpha1.AnnotationAttempt),
		TakenBack:   attemptIn(annotations, v1alpha1.AnnotationTakenBack),
	}
	sets, problem, err := s.about.sets(o, part)
	if err != nil {
		problem = err.Error()
	}
	if whole := wholeIn(annotations); whole != nil && suspended {
		for i := range sets {
			if pods, known := whole[sets[i].name]; known {
				sets[i].pods = pods // it is made whole when it is admitted
			}
		}
	}
	j.Problem = problem
	j.setGang(sets)
	j.IndexLabel = s.about.indexLabel
	j.CheckpointEvery, j.LastCheckpoint = checkpoints(annotations)
	j.Told, j.Waits = s.told(o)
	return j
}

// State tells whether an object is suspended, and whether it has ended, or is on its way
// out.
func (s *Suspendable) State(o *unstructured.Unstructured) (suspended, ended bool) {
	suspended, _, _ = unstructured.NestedBool(o.Object, s.about.suspend...)
	return suspended, o.GetDeletionTimestamp() != nil || s.about.ended(o)
}

// Resume implements Kind.
func (s *Suspendable) Resume(ctx context.Context, ref Ref, attempt int32, gang Gang) error {
	o, now, err := s.read(ctx, s.Live, ref.Key)
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%w: it is gone", ErrChanged)
	}
	if err != nil {
		return err
	}
	if done, err := admissible(&now, ref, attempt, gang); done || err != nil {
		return err
	}
	annotations := map[string]*string{v1alpha1.AnnotationAttempt: annotation(attempt)}
	return s.setSuspended(ctx, o, false, annotations, true)
}

// Suspend implements Kind. Where an object that has ended, or is being deleted, leaves
// others running that can be suspended, these are.
func (s *Suspendable) Suspend(ctx context.Context, ref Ref) error {
	return again(func() error {
		o, now, err := s.read(ctx, s.Live, ref.Key)
		if err != nil {
			return client.IgnoreNotFound(err)
		}
		if now.UID == ref.UID && now.Finished {
			return s.suspendRest(ctx, o)
		}
		small := wholeIn(o.GetAnnotations()) != nil
		if now.UID != ref.UID || (now.Suspended && now.TakenBack == 0 && !small) {
			return nil
		}
		annotations := map[string]*string{}
		if now.TakenBack != 0 {
			annotations[v1alpha1.AnnotationTakenBack] = nil
		}
		return s.setSuspended(ctx, o, true, annotations, small)
	})
}

// setSuspended writes the field and the annotations, and makes a job whole again that
// was made smaller. exactly: only if the object is the very version that was read.
func (s *Suspendable) setSuspended(ctx context.Context, o *unstructured.Unstructured, suspended bool, annotations map[string]*string, exactly bool) error {
	fields := map[string]any{}
	if whole := wholeIn(o.GetAnnotations()); whole != nil {
		annotations[v1alpha1.AnnotationWhole] = nil
		if s.about.resize != nil {
			if err := s.about.resize(o, fields, whole, nil); err != nil {
				return fmt.Errorf("make job %s whole: %w", client.ObjectKeyFromObject(o), err)
			}
		}
	}
	if err := unstructured.SetNestedField(fields, suspended, s.about.suspend...); err != nil {
		return fmt.Errorf("write %s: %w", s.SuspendPath(), err)
	}
	return s.patch(ctx, o, annotations, fields, exactly)
}

// SkipAttempt implements Kind.
func (s *Suspendable) SkipAttempt(ctx context.Context, ref Ref, attempt int32) error {
	o, err := s.get(ctx, s.Live, s.about.kind, ref.Key)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	if o.GetUID() != ref.UID || attemptIn(o.GetAnnotations(), v1alpha1.AnnotationAttempt) >= attempt {
		return nil
	}
	return s.patch(ctx, o, map[string]*string{v1alpha1.AnnotationAttempt: annotation(attempt)}, nil, true)
}

// Resize implements Resizer.
func (s *Suspendable) Resize(ctx context.Context, ref Ref, pods int64, leaving ...string) error {
	return again(func() error {
		o, now, err := s.read(ctx, s.Live, ref.Key)
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("%w: it is gone", ErrChanged)
		}
		if err != nil {
			return err
		}
		if done, err := resizable(&now, ref, pods); done || err != nil {
			return err
		}
		of, about := o, s.about
		if about.grows != nil {
			var name string
			if about, name = about.grows(o); name != "" {
				if of, err = s.owned(ctx, s.Live, o, about.kind, name); err != nil {
					return err
				}
			}
			if name == "" || of == nil {
				return fmt.Errorf("%w: what it runs on is not there", ErrChanged)
			}
		}
		return s.shrink(ctx, of, about, size{pods, leaving}, of == o)
	})
}

// StopsNamed is what Set.StopsNamed says of the kind.
func (s *Suspendable) StopsNamed() bool {
	about := s.about
	if about.grows != nil {
		about, _ = about.grows(&unstructured.Unstructured{})
	}
	return about.setOf != ""
}

// size is what an object is to shrink to: so many pods, without those.
type size struct {
	pods    int64
	leaving []string
}

// shrink makes an object smaller. remember: so that it will be made whole.
func (s *Suspendable) shrink(ctx context.Context, o *unstructured.Unstructured, about *about, size size, remember bool) error {
	sets, _, err := about.sets(o, nil)
	if err != nil {
		return fmt.Errorf("read the size of job %s: %w", client.ObjectKeyFromObject(o), err)
	}
	going, err := s.going(ctx, o, about, size.leaving)
	if err != nil {
		return err
	}
	to := smaller(sets, size.pods, going)
	if len(to) == 0 {
		return nil
	}
	annotations := map[string]*string{}
	if remember {
		whole := sizes{}
		for i := range sets {
			whole[sets[i].name] = sets[i].pods
		}
		maps.Copy(whole, wholeIn(o.GetAnnotations())) // of an earlier time
		if annotations[v1alpha1.AnnotationWhole], err = whole.text(); err != nil {
			return err
		}
	}
	fields := map[string]any{}
	if err := about.resize(o, fields, to, going); err != nil {
		return fmt.Errorf("make job %s smaller: %w", client.ObjectKeyFromObject(o), err)
	}
	return s.patch(ctx, o, annotations, fields, true)
}

// going are the names of the object's pods that are on their way out or leaving, by their
// sets.
func (s *Suspendable) going(ctx context.Context, o *unstructured.Unstructured, about *about, leaving []string) (map[string][]string, error) {
	if about.setOf == "" {
		return nil, nil
	}
	var list corev1.PodList
	if err := s.Live.List(ctx, &list, client.InNamespace(o.GetNamespace()), client.HasLabels{about.setOf}); err != nil {
		return nil, fmt.Errorf("list the pods of job %s: %w", client.ObjectKeyFromObject(o), err)
	}
	going := map[string][]string{}
	for i := range list.Items {
		pod := &list.Items[i]
		if (pod.DeletionTimestamp != nil || slices.Contains(leaving, pod.Name)) && metav1.IsControlledBy(pod, o) {
			set := pod.Labels[about.setOf]
			going[set] = append(going[set], pod.Name)
		}
	}
	return going, nil
}

func (s *Suspendable) patch(ctx context.Context, o *unstructured.Unstructured, annotations map[string]*string, fields map[string]any, exactly bool) error {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(o.GroupVersionKind())
	object.SetNamespace(o.GetNamespace())
	object.SetName(o.GetName())
	metadata := metadataPatch{UID: o.GetUID(), Annotations: annotations}
	if exactly {
		metadata.ResourceVersion = o.GetResourceVersion()
	}
	return patch(ctx, s.Client, object, metadata, fields)
}
