package cli

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
)

// gatedKinds are those whose pods wait without being suspended, by the paths of their
// pod templates; a pod is its own.
func gatedKinds() map[schema.GroupVersionKind][][]string {
	ofSpec := [][]string{{"spec", "template"}}
	lws := schema.GroupVersionKind{Group: "leaderworkerset.x-k8s.io", Version: "v1", Kind: "LeaderWorkerSet"}
	return map[schema.GroupVersionKind][][]string{
		kindPod: {nil},
		appsv1.SchemeGroupVersion.WithKind("Deployment"):  ofSpec,
		appsv1.SchemeGroupVersion.WithKind("StatefulSet"): ofSpec,
		lws: {{"spec", "leaderWorkerTemplate", "workerTemplate"}, {"spec", "leaderWorkerTemplate", "leaderTemplate"}},
	}
}

// decode reads an object of a manifest.
func decode(object runtime.Object) (submission, error) {
	gvk := object.GetObjectKind().GroupVersionKind()
	o, ok := object.(*unstructured.Unstructured)
	if !ok {
		return submission{}, fmt.Errorf("read the job: unexpected form %T", object)
	}
	sub := submission{object: o, kind: gvk}
	if gvk == kindJob {
		job := &batchv1.Job{}
		// Strict: a misspelt field must not vanish on the way.
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, job, true); err != nil {
			return submission{}, fmt.Errorf("job.batch/%s: %w", o.GetName(), err)
		}
		job.SetGroupVersionKind(gvk)
		sub.object, sub.pod = job, &job.Spec.Template.Spec
		return sub, nil
	}
	if job, is := jobs.Read(o); is {
		if len(job.Template.Spec.Containers) > 0 {
			sub.pod = &job.Template.Spec
		}
		return sub, nil
	}
	paths, is := gatedKinds()[gvk]
	if !is {
		return submission{}, fmt.Errorf("%s of %s cannot be submitted; only jobs of the kinds %s can, and pods of %s",
			gvk.Kind, gvk.GroupVersion(), suspendedKinds(), podKinds())
	}
	template := &corev1.PodTemplateSpec{}
	fields, _, _ := unstructured.NestedMap(o.Object, paths[0]...)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, template); err != nil {
		return submission{}, fmt.Errorf("%s: %w", &sub, err)
	}
	sub.pod = &template.Spec
	return sub, nil
}

func suspendedKinds() string {
	var names []string
	for _, field := range jobs.Fields() {
		names = append(names, field.Kind.Kind)
	}
	return strings.Join(names, ", ")
}

func podKinds() string {
	var names []string
	for kind := range gatedKinds() {
		names = append(names, kind.Kind)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// check refuses what would wait for ever, naming the field and the rule.
func (s *submission) check() field.ErrorList {
	if job, is := s.object.(*batchv1.Job); is {
		return checkJob(job)
	}
	errs := checkAnnotations(s.object.GetAnnotations())
	if s.object.GetName() == "" && s.object.GetGenerateName() == "" {
		errs = append(errs, field.Required(field.NewPath("metadata", "name"), "name or generateName must be set"))
	}
	o := s.object.(*unstructured.Unstructured)
	job, suspendable := jobs.Read(o)
	if s.pod == nil {
		return errs // its pods follow from another object
	}
	if suspendable && job.Problem != "" {
		errs = append(errs, field.Forbidden(field.NewPath("spec"), job.Problem))
	}
	if resource, _ := devicesOf(s.pod); resource == "" {
		errs = append(errs, field.Required(field.NewPath("spec"),
			"no container asks for a GPU in resources.limits (nvidia.com/gpu, for example); a queue is for jobs that do"))
	}
	return errs
}

// label is the queue that the object names itself.
func (s *submission) label() string {
	if queue := s.object.GetLabels()[v1alpha1.LabelQueue]; queue != "" || s.kind == kindPod {
		return queue
	}
	paths, gated := gatedKinds()[s.kind]
	if !gated {
		return ""
	}
	o := s.object.(*unstructured.Unstructured)
	labels, _, _ := unstructured.NestedStringMap(o.Object, append(slices.Clone(paths[0]), "metadata", "labels")...)
	return labels[v1alpha1.LabelQueue]
}

// enqueue makes the object one of its queue, which waits.
func (s *submission) enqueue() error {
	if job, is := s.object.(*batchv1.Job); is {
		if job.Spec.Template.Labels == nil {
			job.Spec.Template.Labels = map[string]string{}
		}
		job.Spec.Template.Labels[v1alpha1.LabelQueue] = s.queue
		job.Spec.Suspend = ptr.To(true)
	}
	labels := s.object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[v1alpha1.LabelQueue] = s.queue
	s.object.SetLabels(labels)
	o, is := s.object.(*unstructured.Unstructured)
	if !is {
		return nil
	}
	for _, f := range jobs.Fields() {
		if f.Kind == s.kind {
			// Its pods are labelled when it is created.
			return unstructured.SetNestedField(o.Object, true, strings.Split(f.Path, "/")[1:]...)
		}
	}
	for _, path := range gatedKinds()[s.kind] {
		if _, has, _ := unstructured.NestedMap(o.Object, path...); !has {
			continue // a group whose leader is like its workers
		}
		in := func(fields ...string) []string { return append(slices.Clone(path), fields...) }
		if err := unstructured.SetNestedField(o.Object, s.queue, in("metadata", "labels", v1alpha1.LabelQueue)...); err != nil {
			return err
		}
		if err := unstructured.SetNestedField(o.Object, v1alpha1.SchedulerName, in("spec", "schedulerName")...); err != nil {
			return err
		}
	}
	return nil
}
