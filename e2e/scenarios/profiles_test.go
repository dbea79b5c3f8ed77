package scenarios

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// Each shipped configuration, as it is, with its leader election, places a pod with
// a GPU and one without; and a GPU pod under the default scheduler's name, which only
// a namespace that the policies leave out lets in, only where its header says so.
func TestShippedSchedulerConfigurations(t *testing.T) {
	for _, tc := range []struct {
		file string
		// stock runs kube-scheduler as well.
		stock bool
		// lease that the leader holds.
		namespace, lease string
		// refused is what a GPU pod under default-scheduler waits for; empty if it is
		// placed.
		refused string
	}{
		{"second-scheduler.yaml", true, "ebbtide-system", "ebbtide-scheduler", ""},
		{"replace-default.yaml", false, "kube-system", "kube-scheduler", "tenant"},
		{"beside-default.yaml", false, "kube-system", "kube-scheduler", ""},
	} {
		t.Run(tc.file, func(t *testing.T) {
			l := newSchedulerLab(t, tc.file, lab.Options{KubeScheduler: tc.stock})
			create(t, l, bare("online", onlineNamespace, v1alpha1.SchedulerName, 1))
			create(t, l, bare("plain", onlineNamespace, corev1.DefaultSchedulerName, 0))
			create(t, l, bare("aside", metav1.NamespaceSystem, corev1.DefaultSchedulerName, 1))

			awaitNode(t, l, onlineNamespace, "online")
			awaitNode(t, l, onlineNamespace, "plain")
			if tc.refused == "" {
				awaitNode(t, l, metav1.NamespaceSystem, "aside")
			} else {
				awaitRefusal(t, l, metav1.NamespaceSystem, "aside", tc.refused)
			}
			lease, err := l.Client().CoordinationV1().Leases(tc.namespace).Get(t.Context(), tc.lease, metav1.GetOptions{})
			if err != nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
				t.Errorf("lease %s/%s: %v, %v; want one that is held", tc.namespace, tc.lease, lease, err)
			}
		})
	}
}

// newSchedulerLab runs ebbtide-scheduler with a shipped file, and one tenant that was
// promised all of the one node.
func newSchedulerLab(t *testing.T, file string, opts lab.Options) *lab.Lab {
	t.Helper()
	text, err := os.ReadFile("../../scheduler-plugin/config/" + file)
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := deploy.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	opts.NoPrometheus, opts.Manifests = true, [][]byte{manifests}
	opts.Nodes = []lab.NodeSpec{{Name: "gpu-0", GPUs: 8}}
	if opts.Scheduler == nil {
		opts.Scheduler = &lab.Program{}
	}
	opts.Scheduler.Config = func(lab.Env) ([]byte, error) { return text, nil }
	l := labtest.New(t, opts)
	labels := map[string]string{"team": onlineNamespace}
	if err := l.CreateNamespace(t.Context(), onlineNamespace, labels); err != nil {
		t.Fatal(err)
	}
	if err := l.CreateNamespace(t.Context(), metav1.NamespaceSystem, nil); err != nil {
		t.Fatal(err)
	}
	create(t, l, &v1alpha1.TenantQuota{
		ObjectMeta: metav1.ObjectMeta{Name: onlineNamespace},
		Spec: v1alpha1.TenantQuotaSpec{
			Namespaces: &metav1.LabelSelector{MatchLabels: labels},
			Flavors:    []v1alpha1.FlavorQuota{{Name: "h100", Resource: gpu, Nominal: 8}},
		},
	})
	return l
}

// bare makes a pod that nothing controls.
func bare(name, namespace, scheduler string, gpus int64) *corev1.Pod {
	spec := podSpec(v1alpha1.PriorityClassOnline, max(gpus, 1), 0)
	if gpus == 0 {
		spec = podSpec("", 1, 0)
		spec.Containers[0].Resources = corev1.ResourceRequirements{}
	}
	spec.SchedulerName = scheduler
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: spec}
}

func create(t *testing.T, l *lab.Lab, object client.Object) {
	t.Helper()
	api, err := lab.TypedClient(l.Config())
	if err != nil {
		t.Fatal(err)
	}
	labtest.Create(t, api, object)
}

// awaitNode waits until the pod has a node.
func awaitNode(t *testing.T, l *lab.Lab, namespace, name string) {
	t.Helper()
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		pod, err := l.Client().CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return pod.Spec.NodeName != "", fmt.Sprintf("pod %s/%s has no node: %s", namespace, name, whyUnscheduled(pod))
	})
}

// awaitRefusal waits until the scheduler says why the pod has no node; of any reason, one
// with "" in it.
func awaitRefusal(t *testing.T, l *lab.Lab, namespace, name, reason string) {
	t.Helper()
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		pod, err := l.Client().CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		why := whyUnscheduled(pod)
		return pod.Spec.NodeName == "" && why != "" && strings.Contains(why, reason),
			fmt.Sprintf("pod %s/%s, node %q: %q, want a reason with %q", namespace, name, pod.Spec.NodeName, why, reason)
	})
}

// whyUnscheduled is what the scheduler says about a pod that waits.
func whyUnscheduled(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return condition.Message
		}
	}
	return ""
}
