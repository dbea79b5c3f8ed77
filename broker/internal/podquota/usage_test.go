package podquota

import (
	"math"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func rules(hard corev1.ResourceList) *Rules {
	return &Rules{Quotas: []*corev1.ResourceQuota{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: hard},
	}}}
}

func container(requests, limits corev1.ResourceList) corev1.Container {
	return corev1.Container{Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits}}
}

// TestDraws: the largest init container counts where it is more than all containers,
// sidecars and overhead are added, and what is not a pod's is left out.
func TestDraws(t *testing.T) {
	sidecar := container(list("cpu", "100m"), nil)
	sidecar.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	template := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		Overhead:       list("cpu", "50m", "memory", "1Mi"),
		InitContainers: []corev1.Container{container(list("cpu", "5"), nil), sidecar},
		Containers: []corev1.Container{
			container(list("cpu", "1", "hugepages-2Mi", "4Mi", "memory", "1Gi"), list("cpu", "2", "hugepages-2Mi", "4Mi", "example.com/nic", "2")),
			container(list("cpu", "1"), list("ephemeral-storage", "1Gi", "example.com/nic", "1")),
		},
	}}
	for name, want := range map[string]int64{
		"cpu": 10_100, "requests.cpu": 10_100, "limits.cpu": 4_100, // an overhead counts for a limit that there is
		"requests.memory": 2 * (1<<30 + 1<<20) * 1000, "requests.hugepages-2Mi": 2 * 4 << 20 * 1000, "hugepages-2Mi": 2 * 4 << 20 * 1000,
		"requests.example.com/nic": 6_000, "limits.example.com/nic": 0, "example.com/nic": 0,
		"requests.ephemeral-storage": 2 << 30 * 1000, "limits.ephemeral-storage": 2 << 30 * 1000,
		"pods": 2_000, "count/pods": 2_000, "requests.storage": 0, "services": 0, "count/jobs.batch": 0,
	} {
		draws, _ := rules(list(name, "9E")).Draws(template, 2)
		var got int64
		for _, d := range draws {
			got += d.Amount
		}
		if got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

// TestHuge: absurd amounts fit nowhere, and wrap into nothing.
func TestHuge(t *testing.T) {
	template := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{container(list("memory", "8E", "cpu", "1"), nil)}}}
	draws, refused := rules(list("requests.memory", "1Ti")).Draws(template, math.MaxInt64)
	if len(draws) != 1 || draws[0].Amount != math.MaxInt64 || !strings.Contains(refused, "allows 1Ti of requests.memory") {
		t.Errorf("got %+v, %q", draws, refused)
	}
	if none := (*Rules)(nil); none.Limits(nil) != nil {
		t.Error("no rules have limits")
	}
	if draws, refused := (*Rules)(nil).Draws(template, 1); draws != nil || refused != "" {
		t.Errorf("no rules: %v %q", draws, refused)
	}
}
