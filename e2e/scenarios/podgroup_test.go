package scenarios

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1alpha2 "k8s.io/api/scheduling/v1alpha2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// upstreamGangs are the flags with which an API server serves PodGroups, and a
// scheduler places them by itself.
const upstreamGangs = "--feature-gates=GenericWorkload=true,GangScheduling=true"

// Gangs that are given as upstream PodGroups are bound whole or not at all, whether
// or not the scheduler runs with the upstream feature.
func TestPodGroups(t *testing.T) {
	for name, program := range map[string]lab.Program{
		"the scheduler as it is shipped":          {},
		"the scheduler with the upstream feature": {Args: func(lab.Env) []string { return []string{upstreamGangs} }},
	} {
		t.Run(name, func(t *testing.T) {
			l := newSchedulerLab(t, "second-scheduler.yaml", lab.Options{
				APIServerArgs: []string{upstreamGangs, "--runtime-config=scheduling.k8s.io/v1alpha2=true"},
				Scheduler:     &program,
			})
			// A pod that fits waits for its group, then for the others of it.
			create(t, l, member("first", 0, 1))
			create(t, l, group("first", 3))
			create(t, l, member("first", 1, 1))
			create(t, l, bare("alone", onlineNamespace, v1alpha1.SchedulerName, 1))
			awaitNode(t, l, onlineNamespace, "alone")
			checkUnplaced(t, l, "first-0", "first-1")
			create(t, l, member("first", 2, 1))
			for i := range 3 {
				awaitNode(t, l, onlineNamespace, fmt.Sprintf("first-%d", i))
			}
			// Of the 8 units 4 are left: 3 pods of 2 units do not fit, and none of them
			// holds what another pod can use.
			create(t, l, group("large", 3))
			for i := range 3 {
				create(t, l, member("large", i, 2))
			}
			for i := range 3 { // the last one when there are all
				awaitRefusal(t, l, onlineNamespace, fmt.Sprintf("large-%d", i), "")
			}
			create(t, l, bare("small", onlineNamespace, v1alpha1.SchedulerName, 1))
			awaitNode(t, l, onlineNamespace, "small")
			checkUnplaced(t, l, "large-0", "large-1", "large-2")
			// They go when there is room for all.
			for _, pod := range []string{"alone", "first-0", "first-1"} {
				remove(t, l, pod)
			}
			for i := range 3 {
				awaitNode(t, l, onlineNamespace, fmt.Sprintf("large-%d", i))
			}
		})
	}
}

// Where PodGroups are not served, a pod that names one is a pod like any other. (An
// API server that does not serve them drops the field.)
func TestPodGroupsAreNotServed(t *testing.T) {
	l := newSchedulerLab(t, "second-scheduler.yaml", lab.Options{})
	create(t, l, member("none", 0, 1))
	awaitNode(t, l, onlineNamespace, "none-0")
}

func group(name string, minCount int32) *schedulingv1alpha2.PodGroup {
	return &schedulingv1alpha2.PodGroup{
		ObjectMeta: metav1.ObjectMeta{Namespace: onlineNamespace, Name: name},
		Spec: schedulingv1alpha2.PodGroupSpec{SchedulingPolicy: schedulingv1alpha2.PodGroupSchedulingPolicy{
			Gang: &schedulingv1alpha2.GangSchedulingPolicy{MinCount: minCount},
		}},
	}
}

// member makes a pod of a group.
func member(group string, i int, gpus int64) *corev1.Pod {
	pod := bare(fmt.Sprintf("%s-%d", group, i), onlineNamespace, v1alpha1.SchedulerName, gpus)
	pod.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: &group}
	return pod
}

// checkUnplaced fails if one of the pods has a node.
func checkUnplaced(t *testing.T, l *lab.Lab, names ...string) {
	t.Helper()
	for _, name := range names {
		pod, err := l.Client().CoreV1().Pods(onlineNamespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if pod.Spec.NodeName != "" {
			t.Errorf("pod %s has a node before its gang is whole", name)
		}
	}
}

func remove(t *testing.T, l *lab.Lab, name string) {
	t.Helper()
	if err := l.Client().CoreV1().Pods(onlineNamespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}
