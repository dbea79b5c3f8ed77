package cli

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

func container(resources ...string) corev1.Container {
	limits := corev1.ResourceList{}
	for i := 0; i < len(resources); i += 2 {
		limits[corev1.ResourceName(resources[i])] = resource.MustParse(resources[i+1])
	}
	return corev1.Container{Resources: corev1.ResourceRequirements{Limits: limits}}
}

func TestGangOf(t *testing.T) {
	gpu := func(n string) corev1.Container { return container("nvidia.com/gpu", n, "cpu", "4") }
	sidecar := gpu("1")
	sidecar.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	tests := map[string]struct {
		parallelism, completions *int32
		init, main               []corev1.Container
		want                     gang
	}{
		"one pod by default":           {main: []corev1.Container{gpu("2")}, want: gang{1, 2, "nvidia.com/gpu"}},
		"no more than its completions": {parallelism: ptr.To[int32](8), completions: ptr.To[int32](3), main: []corev1.Container{gpu("8")}, want: gang{3, 8, "nvidia.com/gpu"}},
		"no more than run at once":     {parallelism: ptr.To[int32](2), completions: ptr.To[int32](30), main: []corev1.Container{gpu("1")}, want: gang{2, 1, "nvidia.com/gpu"}},
		"containers add up":            {main: []corev1.Container{gpu("2"), gpu("1"), container("cpu", "1")}, want: gang{1, 3, "nvidia.com/gpu"}},
		"init containers do not":       {init: []corev1.Container{gpu("4"), gpu("1")}, main: []corev1.Container{gpu("2")}, want: gang{1, 4, "nvidia.com/gpu"}},
		"sidecars do":                  {init: []corev1.Container{sidecar}, main: []corev1.Container{gpu("2")}, want: gang{1, 3, "nvidia.com/gpu"}},
		"GPUs before network cards":    {main: []corev1.Container{container("nvidia.com/mig-1g.10gb", "2", "example.com/rdma", "1")}, want: gang{1, 2, "nvidia.com/mig-1g.10gb"}},
		"nothing but processors":       {main: []corev1.Container{container("cpu", "64", "hugepages-2Mi", "1Gi")}, want: gang{1, 0, ""}},
		"none of a GPU is none":        {main: []corev1.Container{gpu("0")}, want: gang{1, 0, ""}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			job := &batchv1.Job{Spec: batchv1.JobSpec{Parallelism: tt.parallelism, Completions: tt.completions}}
			job.Spec.Template.Spec.InitContainers, job.Spec.Template.Spec.Containers = tt.init, tt.main
			resource, units := devicesOf(&job.Spec.Template.Spec)
			if diff := cmp.Diff(tt.want, gang{podsOf(job), units, resource}); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestGraceWarningIsAboutTheStrictestLender(t *testing.T) {
	policy := func(name string, mode v1alpha1.LendingMode, grace time.Duration) v1alpha1.LendingPolicy {
		p := v1alpha1.LendingPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: name}}
		p.Spec.Mode, p.Spec.Reclaim.MaxGrace.Duration = mode, grace
		return p
	}
	policies := []v1alpha1.LendingPolicy{
		policy("slow", v1alpha1.ModeLend, 5*time.Minute),
		policy("fast", v1alpha1.ModeLend, 20*time.Second),
		policy("advises", v1alpha1.ModeAdvise, time.Second),
	}
	tests := map[string]struct {
		grace *int64
		seen  []v1alpha1.LendingPolicy
		want  string
	}{
		"as long as allowed": {ptr.To[int64](20), policies, ""},
		"nobody lends":       {ptr.To[int64](900), nil, ""},
		"longer":             {ptr.To[int64](21), policies, "terminationGracePeriodSeconds is 21, but LendingPolicy serving/fast gives a pod on its units only 20s to stop: the rest would be lost"},
		"by default":         {nil, policies, "terminationGracePeriodSeconds is 30 by default, but LendingPolicy serving/fast gives a pod on its units only 20s to stop: the rest would be lost"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := graceWarning(&corev1.PodSpec{TerminationGracePeriodSeconds: tt.grace}, tt.seen); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}
