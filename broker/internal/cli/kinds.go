package cli

import (
	"context"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

var (
	kindJob = batchv1.SchemeGroupVersion.WithKind("Job")
	kindPod = corev1.SchemeGroupVersion.WithKind("Pod")
)

// jobKinds are all kinds of jobs: Jobs first, pods last.
func jobKinds() []schema.GroupVersionKind {
	var kinds []schema.GroupVersionKind
	for _, field := range jobs.Fields() {
		kinds = append(kinds, field.Kind)
	}
	return append(kinds, kindPod)
}

// isJobKind tells whether jobs are of a kind of that name.
func isJobKind(name string) bool {
	for _, kind := range jobKinds() {
		if kind.Kind == name {
			return true
		}
	}
	return false
}

// jobKindBy finds a kind by what a person calls it: its name or plural, with its group
// or without.
func jobKindBy(word string) (schema.GroupVersionKind, bool) {
	word = strings.ToLower(word)
	for _, kind := range jobKinds() {
		name := strings.ToLower(kind.Kind)
		for _, known := range []string{name, name + "s", name + "." + kind.Group, name + "s." + kind.Group} {
			if word == known {
				return kind, true
			}
		}
	}
	return schema.GroupVersionKind{}, false
}

// shownName is a job's name in a list of several kinds.
func shownName(job *jobs.Job) string {
	if job.Kind == kindJob {
		return job.Key.Name
	}
	return strings.ToLower(job.Kind.Kind) + "/" + job.Key.Name
}

// typedName is kind.group/name, as kubectl prints it.
func typedName(kind schema.GroupVersionKind, name string) string {
	resource := strings.ToLower(kind.Kind)
	if kind.Group != "" {
		resource += "." + kind.Group
	}
	return resource + "/" + name
}

// objectOf is what stands for a job where only its name is printed.
func objectOf(job *jobs.Job) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(job.Kind)
	o.SetNamespace(job.Key.Namespace)
	o.SetName(job.Key.Name)
	return o
}

// within reads one namespace, or all.
type within struct {
	client.Reader
	options []client.ListOption
}

// List implements client.Reader.
func (w within) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	return w.Reader.List(ctx, list, append(options, w.options...)...)
}

// chains knows who made a pod by asking the API server, each object once.
type chains struct {
	lineage.Lineage
	ctx  context.Context
	api  client.Reader
	seen map[types.UID]bool
}

func newChains(ctx context.Context, api client.Reader) *chains {
	return &chains{ctx: ctx, api: api, seen: map[types.UID]bool{}}
}

// Chain implements jobs.Chains. What may not be read leaves the chain incomplete.
func (c *chains) Chain(pod metav1.Object) (chain []lineage.Owner, complete bool) {
	var object = pod
	for {
		ref := metav1.GetControllerOfNoCopy(object)
		if ref == nil || c.seen[ref.UID] {
			break
		}
		c.seen[ref.UID] = true
		owner := &unstructured.Unstructured{}
		owner.SetGroupVersionKind(schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind))
		key := client.ObjectKey{Namespace: pod.GetNamespace(), Name: ref.Name}
		if c.api.Get(c.ctx, key, owner) != nil || owner.GetUID() != ref.UID {
			break
		}
		c.Put(owner)
		object = owner
	}
	return c.Lineage.Chain(pod)
}

// newSet reads jobs of all kinds.
func newSet(ctx context.Context, api client.Reader) *jobs.Set {
	return jobs.NewSet(jobs.Clients{Live: api}, newChains(ctx, api), &jobs.Batch{Live: api})
}

// listJobs are the jobs that name a queue, of all kinds that the cluster has; hidden are
// the kinds that the user may not list, if the cluster has them.
func listJobs(ctx context.Context, api client.Reader, ns string, everywhere bool) (list []jobs.Job, hidden []schema.GroupVersionKind, err error) {
	reader := within{api, scope(ns, everywhere)}
	set := newSet(ctx, api)
	for _, kind := range jobKinds() {
		some, err := set.Of(kind.GroupKind()).List(ctx, reader, func(types.UID, string) bool { return false })
		switch {
		case kind != kindJob && apierrors.IsForbidden(err):
			hidden = append(hidden, kind)
		case kind != kindJob && apierrors.IsNotFound(err):
			// The cluster does not have it.
		case err != nil:
			return nil, nil, err
		}
		list = append(list, some...)
	}
	return list, hidden, nil
}

// jobs is listJobs, with a note for whatever is not shown.
func (s *session) jobs(ctx context.Context, api client.Reader, ns string, everywhere bool) ([]jobs.Job, error) {
	list, hidden, err := listJobs(ctx, api, ns, everywhere)
	s.noteHidden(hidden)
	return list, err
}

// noteHidden says which kinds there are that could not be looked at.
func (s *session) noteHidden(hidden []schema.GroupVersionKind) {
	for _, kind := range hidden {
		if s.installed(kind) {
			s.note("note: jobs of kind %s are not shown: you may not read them", kind.Kind)
		}
	}
}

// installed tells whether the cluster has a kind, as far as that can be learnt.
func (s *session) installed(kind schema.GroupVersionKind) bool {
	config, err := s.config.ToRESTConfig()
	if err != nil {
		return true
	}
	api, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return true
	}
	resources, err := api.ServerResourcesForGroupVersion(kind.GroupVersion().String())
	if err != nil {
		return !apierrors.IsNotFound(err)
	}
	for _, r := range resources.APIResources {
		if r.Kind == kind.Kind {
			return true
		}
	}
	return false
}

// findJob reads a job by its name: of one kind, or of the first that has one of that
// name. The error is NotFound if none has; hidden are the kinds that the user may not
// read, if the cluster has them.
func findJob(ctx context.Context, api client.Reader, kind schema.GroupVersionKind, key client.ObjectKey) (job jobs.Job, hidden []schema.GroupVersionKind, err error) {
	set := newSet(ctx, api)
	kinds := []schema.GroupVersionKind{kind}
	if kind.Empty() {
		kinds = jobKinds()
	}
	for _, kind := range kinds {
		job, err = set.Of(kind.GroupKind()).Get(ctx, api, key)
		switch {
		case err == nil:
			return job, nil, nil
		case apierrors.IsForbidden(err) && kind != kinds[0]:
			hidden = append(hidden, kind)
		case !apierrors.IsNotFound(err):
			return jobs.Job{}, nil, err
		}
	}
	return jobs.Job{}, hidden, apierrors.NewNotFound(schema.GroupResource{Resource: "jobs"}, key.Name)
}

// ending says how a job of any kind has ended, in its object's own words.
func ending(ctx context.Context, api client.Reader, job *jobs.Job) (metav1.Condition, error) {
	o := objectOf(job)
	if err := api.Get(ctx, job.Key, o); err != nil {
		return metav1.Condition{}, fmt.Errorf("read %s: %w", typedName(job.Kind, job.Key.Name), err)
	}
	if o.GetDeletionTimestamp() != nil {
		return metav1.Condition{Type: "Deleted", LastTransitionTime: *o.GetDeletionTimestamp()}, nil
	}
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range conditions {
		fields, _ := item.(map[string]any)
		text := func(name string) string {
			value, _ := fields[name].(string)
			return value
		}
		switch text("type") {
		case "Complete", "Completed", "Succeeded", "Failed":
			if text("status") != string(metav1.ConditionTrue) {
				continue
			}
			c := metav1.Condition{Type: text("type"), Reason: text("reason"), Message: text("message")}
			_ = c.LastTransitionTime.UnmarshalQueryParameter(text("lastTransitionTime")) // none if it cannot be read
			return c, nil
		}
	}
	for _, path := range [][]string{{"status", "jobDeploymentStatus"}, {"status", "phase"}} {
		if said, _, _ := unstructured.NestedString(o.Object, path...); said != "" {
			return metav1.Condition{Type: said}, nil
		}
	}
	return metav1.Condition{Type: "finished"}, nil
}
