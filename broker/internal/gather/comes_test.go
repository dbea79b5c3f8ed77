package gather_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// TestPodsThatWait: what the scheduler has promised to a pod outside queues, or is
// about to give it, is neither lent nor given to a job as its tenant's own quota.
func TestPodsThatWait(t *testing.T) {
	bare := func(name string, gpus int64, edit func(*corev1.Pod)) client.Object {
		p := newPod("research", name, gpus, nil)
		if edit != nil {
			edit(p.Pod)
		}
		return p
	}
	nominated := func(p *corev1.Pod) { p.Status.NominatedNodeName = "gpu-1" }
	own := loan("tune", "gpu-1", 4)
	own.Spec.Grants[0].Lender = ""
	for name, test := range map[string]struct {
		objects        []client.Object
		held, promised int64
	}{
		"nominated":       {[]client.Object{bare("p", 4, nominated)}, 4, 4},
		"waits":           {[]client.Object{bare("p", 4, nil), bare("q", 2, nil)}, 6, 0},
		"beyond quota":    {[]client.Object{bare("p", 4, nil), bare("q", 4, nil), bare("r", 4, nil)}, 8, 0},
		"larger":          {[]client.Object{bare("p", 16, nil)}, 0, 0},
		"beside own jobs": {[]client.Object{bare("p", 8, nominated), own}, 4, 8},
		"beside pods":     {[]client.Object{bare("p", 8, nil), newPod("research", "q", 2, nil).on("gpu-0")}, 8, 0},
		"no such node":    {[]client.Object{bare("p", 4, func(p *corev1.Pod) { p.Spec.NodeSelector["zone"] = "moon" })}, 0, 0},
		"gated":           {[]client.Object{bare("p", 4, func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "later"}} })}, 0, 0},
		"another's":       {[]client.Object{bare("p", 4, func(p *corev1.Pod) { p.Spec.SchedulerName = "default-scheduler" })}, 0, 0},
		"queued":          {[]client.Object{bare("p", 4, func(p *corev1.Pod) { p.Labels = map[string]string{"ebbtide.dev/queue": "default"} })}, 0, 0},
		"leaving":         {[]client.Object{newPod("research", "p", 4, nil).leaving()}, 0, 0},
		"of a loan":       {[]client.Object{loan("tune", "gpu-1", 4), newPod("research", "p", 4, controlledBy("Job", types.UID("tune")))}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			quota := tenant("research", flavor("h100", "h100", 8))
			view := gatherAll(t, append(append(without(cluster(), "research", "TenantQuota"), quota), test.objects...)...)
			var held, promised int64
			for _, tenant := range view.Snapshot.Tenants {
				if tenant.Name == "research" {
					held = tenant.Quotas[0].Held
				}
			}
			for _, n := range view.Snapshot.Nodes {
				for _, u := range n.Units {
					promised += u.Promised
				}
			}
			if held != test.held || promised != test.promised {
				t.Errorf("held %d, promised %d, want %d and %d", held, promised, test.held, test.promised)
			}
			if broken := lend.CheckLaws(view.Snapshot); len(broken) > 0 {
				t.Errorf("broken laws: %v", broken)
			}
		})
	}
}
