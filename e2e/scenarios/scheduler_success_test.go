package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/crds"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// A pod that its operator makes anew does not wait for the sibling that has succeeded
// meanwhile, of which kube-scheduler's own watch shows nothing: neither if the scheduler
// was told when it did, nor if it has restarted since.
func TestGangGoesOnWithoutWhoSucceeded(t *testing.T) {
	t.Parallel()
	l := newSchedulerLab(t, "second-scheduler.yaml", lab.Options{})
	w := lonely{l, t, asBroker(t, l)}
	w.borrower()
	if err := l.StartOperators(t.Context(), crds.JobSet, crds.TrainingOperator); err != nil {
		t.Fatal(err)
	}
	for _, kind := range lentKinds {
		if kind.name != "raycluster" { // whose pods have no end of their own
			t.Run(kind.name, func(t *testing.T) { lonely{l, t, w.api}.goesOn(kind, kind.name == "jobset") })
		}
	}
}

func (w lonely) goesOn(kind lentKind, restart bool) {
	kind.manifest = strings.ReplaceAll(kind.manifest, "backoffLimit: 0", "backoffLimit: 6") // else one deleted pod ends all
	job := w.read(kind)
	labtest.Create(w.t, w.api, job)
	w.lend(job.GroupVersionKind(), job.GetName(), job.GetUID(), kind.suspendPath, "")
	w.admit(job, kind.suspendPath)
	w.awaitRunning(2 + kind.others)
	workers := w.awaitWorkers()
	succeed(w.t, w.Lab, workers[0].Name)
	if restart {
		if err := w.Part(lab.Scheduler).Restart(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
	w.leave(&workers[1])
	w.awaitAnew(workers)
	if err := w.api.Delete(w.t.Context(), job, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		w.t.Fatal(err)
	}
	w.forget(job.GetName())
	w.awaitRunning(0)
}

// awaitWorkers waits until both run, and returns them.
func (w lonely) awaitWorkers() (workers []corev1.Pod) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		pods, err := w.pods(ctx)
		workers = nil
		for i := range pods {
			if units(&pods[i]) && pods[i].Status.Phase == corev1.PodRunning {
				workers = append(workers, pods[i])
			}
		}
		return err == nil && len(workers) == 2, fmt.Sprintf("%d workers run (%v)", len(workers), err)
	})
	return workers
}

// awaitAnew waits until another worker has a node in place of the second one, beside the
// first.
func (w lonely) awaitAnew(before []corev1.Pod) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		pods, err := w.pods(ctx)
		var first, anew bool
		says := ""
		for i := range pods {
			switch pod := &pods[i]; {
			case !units(pod) || pod.UID == before[1].UID:
			case pod.UID == before[0].UID:
				first = true
			case pod.Spec.NodeName != "":
				anew = true
			default:
				says += fmt.Sprintf("; %s: %s", pod.Name, whyUnscheduled(pod))
			}
		}
		return first && anew, fmt.Sprintf("who succeeded is there: %t, another has a node: %t (%v)%s", first, anew, err, says)
	})
}
