package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
)

// gang is what a job asks for at once.
type gang struct {
	Pods        int64
	UnitsPerPod int64
	// Resource that is counted; empty if no container asks for a device.
	Resource string
}

// gangOf reads a job's gang: as many pods as run side by side, and the devices
// of one of them.
func gangOf(job *jobs.Job) gang {
	resource, units := devicesOf(&job.Template.Spec)
	return gang{Pods: job.Pods, UnitsPerPod: units, Resource: resource}
}

// podsOf is how many pods of a Job run side by side.
func podsOf(job *batchv1.Job) int64 {
	pods := int64(1)
	if job.Spec.Parallelism != nil {
		pods = int64(*job.Spec.Parallelism)
	}
	if job.Spec.Completions != nil {
		pods = min(pods, int64(*job.Spec.Completions))
	}
	return pods
}

// devicesOf finds the devices that a pod asks for. Of several kinds the GPUs
// count, and not, say, the network cards beside them.
func devicesOf(pod *corev1.PodSpec) (string, int64) {
	running, starting := map[string]int64{}, map[string]int64{}
	for i := range pod.Containers {
		addDevices(running, &pod.Containers[i])
	}
	for i := range pod.InitContainers {
		c := &pod.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			addDevices(running, c)
			continue
		}
		own := map[string]int64{}
		addDevices(own, c)
		for name, n := range own {
			starting[name] = max(starting[name], n)
		}
	}
	for _, name := range v1alpha1.ClaimedResources(pod) {
		running[string(name)]++
	}
	var names []string
	for name, n := range starting {
		running[name] = max(running[name], n)
	}
	for name, n := range running {
		if n > 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "", 0
	}
	slices.Sort(names)
	if i := slices.IndexFunc(names, func(name string) bool { return v1alpha1.GPU(corev1.ResourceName(name)) }); i > 0 {
		names[0] = names[i]
	}
	return names[0], running[names[0]]
}

// addDevices adds a container's extended resources. Their limits and requests
// are equal where both are set.
func addDevices(to map[string]int64, c *corev1.Container) {
	asked := map[corev1.ResourceName]int64{}
	for name, q := range c.Resources.Requests {
		asked[name] = q.Value()
	}
	for name, q := range c.Resources.Limits {
		asked[name] = q.Value()
	}
	for name, n := range asked {
		if isExtended(string(name)) {
			to[string(name)] += n
		}
	}
}

func isExtended(name string) bool {
	domain, _, qualified := strings.Cut(name, "/")
	return qualified && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io")
}

// checkJob refuses what would wait for ever, naming the field and the rule.
func checkJob(job *batchv1.Job) field.ErrorList {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	resource, _ := devicesOf(&job.Spec.Template.Spec)
	switch {
	case job.Spec.Parallelism != nil && *job.Spec.Parallelism < 1:
		errs = append(errs, field.Invalid(spec.Child("parallelism"), *job.Spec.Parallelism, "must be at least 1: a job without pods has nothing to wait for"))
	case podsOf(job) < 1:
		errs = append(errs, field.Invalid(spec.Child("completions"), *job.Spec.Completions, "must be at least 1: a job without pods has nothing to wait for"))
	}
	if resource == "" {
		errs = append(errs, field.Required(spec.Child("template", "spec", "containers"),
			"no container asks for a GPU in resources.limits (nvidia.com/gpu, for example); a queue is for jobs that do"))
	}
	if job.Name == "" && job.GenerateName == "" {
		errs = append(errs, field.Required(field.NewPath("metadata", "name"), "name or generateName must be set"))
	}
	return append(errs, checkAnnotations(job.Annotations)...)
}

// checkAnnotations: a checkpoint that cannot be read would silently count as
// none, and cost the job its protection.
func checkAnnotations(annotations map[string]string) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("metadata", "annotations")
	if text, ok := annotations[v1alpha1.AnnotationCheckpointInterval]; ok {
		if why := badInterval(text); why != "" {
			errs = append(errs, field.Invalid(path.Key(v1alpha1.AnnotationCheckpointInterval), text, why))
		}
	}
	if text, ok := annotations[v1alpha1.AnnotationLastCheckpoint]; ok {
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			errs = append(errs, field.Invalid(path.Key(v1alpha1.AnnotationLastCheckpoint), text, "must be a time such as 2026-01-02T15:04:05Z"))
		}
	}
	return errs
}

// badInterval says what is wrong with how often a job says that it saves its work.
func badInterval(text string) string {
	if d, err := time.ParseDuration(text); err != nil || d <= 0 {
		return "must be a duration above 0 such as 15m or 1h30m"
	}
	return ""
}

// graceWarning says that a pod's own grace is longer than what the strictest
// visible lender allows. It is empty if there is nothing to say.
func graceWarning(pod *corev1.PodSpec, policies []v1alpha1.LendingPolicy) string {
	grace, origin := int64(corev1.DefaultTerminationGracePeriodSeconds), " by default"
	if own := pod.TerminationGracePeriodSeconds; own != nil {
		grace, origin = *own, ""
	}
	var strictest *v1alpha1.LendingPolicy
	for i := range policies {
		p := &policies[i]
		if p.Spec.Reclaim.MaxGrace.Duration <= 0 || p.Spec.Mode == v1alpha1.ModeAdvise {
			continue
		}
		if strictest == nil || p.Spec.Reclaim.MaxGrace.Duration < strictest.Spec.Reclaim.MaxGrace.Duration {
			strictest = p
		}
	}
	if strictest == nil || time.Duration(grace)*time.Second <= strictest.Spec.Reclaim.MaxGrace.Duration {
		return ""
	}
	return fmt.Sprintf("terminationGracePeriodSeconds is %d%s, but LendingPolicy %s/%s gives a pod on its units only %s to stop: the rest would be lost",
		grace, origin, strictest.Namespace, strictest.Name, strictest.Spec.Reclaim.MaxGrace.Duration)
}
