package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// jobFlags describe a job for which there is no manifest. What they cannot say takes one.
type jobFlags struct {
	name, image, resource string
	gpus, pods            int32
	nodes                 map[string]string
	grace                 time.Duration
	checkpoint            string

	command []string
	// given are the names of the flags that were, sorted.
	given []string
}

// jobFlag marks the flags that describe a job.
const jobFlag = "ebbtide.dev/job"

func (j *jobFlags) add(flags *pflag.FlagSet) {
	own := pflag.NewFlagSet("job", pflag.ContinueOnError)
	own.StringVar(&j.name, "name", "", "Name of a job that has no manifest")
	own.StringVar(&j.image, "image", "", "Image that its pods run")
	own.Int32Var(&j.gpus, "gpus", 1, "Units that each pod asks for")
	own.Int32Var(&j.pods, "pods", 1, "Pods that run side by side")
	own.StringVar(&j.resource, "resource", string(v1alpha1.WholeGPU), "What the units are of, as in the flavors of TenantQuotas")
	own.StringToStringVar(&j.nodes, "node-selector", nil, "Labels of the nodes that it may run on, as in the flavors of TenantQuotas")
	own.DurationVar(&j.grace, "grace", corev1.DefaultTerminationGracePeriodSeconds*time.Second, "How long its pods may take to stop")
	own.StringVar(&j.checkpoint, "checkpoint-interval", "", "How often it saves its work, such as 15m")
	own.VisitAll(func(f *pflag.Flag) { f.Annotations = map[string][]string{jobFlag: nil} })
	flags.AddFlagSet(own)
}

func (j *jobFlags) complete(flags *pflag.FlagSet, args []string) {
	j.command = args
	flags.Visit(func(f *pflag.Flag) {
		if _, own := f.Annotations[jobFlag]; own {
			j.given = append(j.given, f.Name)
		}
	})
}

// commandOnly lets only what stands behind "--" be arguments.
func commandOnly(cmd *cobra.Command, args []string) error {
	if dash := cmd.ArgsLenAtDash(); len(args) > 0 && dash != 0 {
		return fmt.Errorf("unexpected argument %q: a manifest is given with -f, a command after --", args[0])
	}
	return nil
}

// asked tells whether there are flags that describe a job, and by what.
func (j *jobFlags) asked() (by string, is bool) {
	switch {
	case len(j.given) > 0:
		return "--" + j.given[0], true
	case len(j.command) > 0:
		return "a command", true
	}
	return "", false
}

// longestHost is how long the name of a pod's host may be: of an indexed job, the job's name
// and the pod's number.
const longestHost = validation.DNS1123LabelMaxLength

// validate names the flag and the rule.
func (j *jobFlags) validate() error {
	var errs []error
	refuse := func(flag, format string, args ...any) {
		errs = append(errs, fmt.Errorf("--"+flag+": "+format, args...))
	}
	j.validateName(refuse)
	if strings.TrimSpace(j.image) == "" {
		refuse("image", "say which image its pods run")
	}
	j.validateShape(refuse)
	if j.grace < 0 || j.grace%time.Second != 0 {
		refuse("grace", "%s: must be whole seconds, such as 90s or 2m", j.grace)
	}
	if why := badInterval(j.checkpoint); j.checkpoint != "" && why != "" {
		refuse("checkpoint-interval", "%q: %s", j.checkpoint, why)
	}
	return errors.Join(errs...)
}

func (j *jobFlags) validateName(refuse func(flag, format string, args ...any)) {
	host := j.name + "-" + strconv.Itoa(int(max(j.pods-1, 0)))
	switch {
	case j.name == "":
		refuse("name", "say how the job is called")
	case len(host) > longestHost:
		refuse("name", "%q is too long: with the number of a pod behind it, it must have at most %d characters", j.name, longestHost)
	default:
		for _, why := range validation.IsDNS1123Label(j.name) {
			refuse("name", "%q: %s", j.name, why)
		}
	}
}

// validateShape looks at how many units of what it asks for, and where.
func (j *jobFlags) validateShape(refuse func(flag, format string, args ...any)) {
	unit := corev1.ResourceName(j.resource)
	switch {
	case j.gpus < 1:
		refuse("gpus", "%d: must be at least 1: a queue is for jobs that ask for a GPU", j.gpus)
	case j.gpus > 1 && v1alpha1.Slice(unit):
		refuse("gpus", "%d: must be 1 of %s: several slices do not make a larger one; ask for a larger profile, or for more pods", j.gpus, unit)
	}
	if j.pods < 1 {
		refuse("pods", "%d: must be at least 1: a job without pods has nothing to wait for", j.pods)
	}
	if !v1alpha1.GPU(unit) || len(validation.IsQualifiedName(j.resource)) > 0 {
		refuse("resource", "%q: must be nvidia.com/gpu, nvidia.com/gpu.* or nvidia.com/mig-*, as no flavor counts another", j.resource)
	}
	for _, key := range slices.Sorted(maps.Keys(j.nodes)) {
		for _, why := range append(validation.IsQualifiedName(key), validation.IsValidLabelValue(j.nodes[key])...) {
			refuse("node-selector", "%s=%s: %s", key, j.nodes[key], why)
		}
	}
}

// object is the manifest that says the same: as many pods as are asked for, side by side and
// numbered, none of which is replaced behind the queue's back.
func (j *jobFlags) object() (*unstructured.Unstructured, error) {
	job := &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: kindJob.GroupVersion().String(), Kind: kindJob.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: j.name},
		Spec: batchv1.JobSpec{
			Parallelism: &j.pods, Completions: &j.pods, CompletionMode: ptr.To(batchv1.IndexedCompletion),
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever,
				NodeSelector:  j.nodes,
				Containers: []corev1.Container{{
					Name: "train", Image: j.image, Command: j.command,
					Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
						corev1.ResourceName(j.resource): *resource.NewQuantity(int64(j.gpus), resource.DecimalSI),
					}},
				}},
			}},
		},
	}
	if slices.Contains(j.given, "grace") {
		job.Spec.Template.Spec.TerminationGracePeriodSeconds = ptr.To(int64(j.grace / time.Second))
	}
	if j.checkpoint != "" {
		job.Annotations = map[string]string{v1alpha1.AnnotationCheckpointInterval: j.checkpoint}
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(job)
	if err != nil {
		return nil, fmt.Errorf("write job %s as a manifest: %w", j.name, err)
	}
	return &unstructured.Unstructured{Object: fields}, nil
}
