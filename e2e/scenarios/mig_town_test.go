package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/audit"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/devices"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

const (
	oneGFlavor  = "a100-1g"
	fourGFlavor = "a100-4g"
	pinnedEach  = 3
)

// newSlicedTown is a town of one node with one card that is cut in seven, all of them the
// online service's tenant's.
func newSlicedTown(t *testing.T) *town {
	t.Helper()
	return slicedTownOf(t, cutInSeven(migNode, 1))
}

// slicedTownOf is a town of one node with cards that are the online service's tenant's.
func slicedTownOf(t *testing.T, node lab.NodeSpec) *town {
	t.Helper()
	d := newDial(t)
	w := raise(t, 0, lab.Options{
		SDURL: d.server.URL + "/targets", Broker: slicingBroker(),
		Nodes: []lab.NodeSpec{node}, Agent: &lab.Program{Restart: true},
	})
	w.dial = d
	d.follow(w.Client())
	start := func(resource, flavor string) *audit.Auditor {
		auditor, stop, err := audit.Start(t.Context(), w.Client(), w.Dynamic(), audit.Options{
			Resource: resource, Flavor: flavor, Others: flavor == fourGFlavor, MaxGrace: maxGrace, Slack: slack, Settle: settle, Hold: time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		return auditor
	}
	w.auditor, w.large = start(oneG, oneGFlavor), start(fourG, fourGFlavor)
	w.slicedTeam(onlineNamespace, int64(node.Cards.Count))
	w.slicedTeam(trainingNamespace, 0)
	w.create(&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: trainingNamespace, Name: "default"}})
	return w
}

// slicingBroker is a broker that thinks of changes of cards as fast as they are here.
func slicingBroker() *lab.Program {
	p := brokerProgram()
	config := p.Config
	p.Config = func(e lab.Env) ([]byte, error) {
		text, err := config(e)
		return append(text, "reshape: {assumedChange: 300ms, assumedUndo: 200ms}\n"...), err
	}
	return p
}

// slicedTeam makes a tenant with a quota in whole cards, on which slices draw.
func (w *town) slicedTeam(name string, cards int64) {
	w.t.Helper()
	if err := w.CreateNamespace(w.t.Context(), name, map[string]string{"team": name}); err != nil {
		w.t.Fatal(err)
	}
	w.create(&v1alpha1.TenantQuota{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.TenantQuotaSpec{
			Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": name}}, Cohort: "town",
			Flavors: []v1alpha1.FlavorQuota{
				{Name: "a100", Resource: gpu, Nominal: cards},
				{Name: oneGFlavor, Resource: oneG, SliceOf: "a100", Slices: &v1alpha1.GPUSlices{Compute: 1, Memory: 1}},
				{Name: fourGFlavor, Resource: fourG, SliceOf: "a100", Slices: &v1alpha1.GPUSlices{Compute: 4, Memory: 4}},
			},
		},
	})
}

// onSlices makes the pods ask for one slice each, instead of whole GPUs.
func onSlices(spec *corev1.PodSpec, resource corev1.ResourceName) {
	for i := range spec.Containers {
		units := corev1.ResourceList{resource: *ptr.To(spec.Containers[i].Resources.Limits[gpu])}
		spec.Containers[i].Resources = corev1.ResourceRequirements{Limits: units, Requests: units}
	}
}

// serveOnSlices starts the service with its replicas on slices of one, of which three of
// each card are pinned.
func (w *town) serveOnSlices(replicas int32, reshape v1alpha1.ReshapeMode) {
	w.t.Helper()
	deployment := service(replicas, 1)
	onSlices(&deployment.Spec.Template.Spec, oneG)
	w.create(deployment)
	w.create(slicedPolicy(reshape))
}

func slicedPolicy(reshape v1alpha1.ReshapeMode) *v1alpha1.LendingPolicy {
	p := lends(7)
	p.Spec.MIG = &v1alpha1.MIGPolicy{Pinned: pinnedEach, Reshape: reshape, MinTrough: &metav1.Duration{Duration: time.Second}}
	return p
}

// slicedJob is a job of one pod on a slice, which runs until it is stopped.
func slicedJob(name string, resource corev1.ResourceName) *batchv1.Job {
	job := elastic(name, 1, 0)
	job.Annotations = nil
	job.Spec.Completions = ptr.To[int32](1)
	onSlices(&job.Spec.Template.Spec, resource)
	return job
}

// gpuNode reads the GPUNode.
func (w *town) gpuNode(ctx context.Context) (*v1alpha1.GPUNode, error) {
	n := &v1alpha1.GPUNode{}
	return n, w.api.Get(ctx, client.ObjectKey{Name: migNode}, n)
}

// awaitPins waits until the slices of the card are pinned that leave the most for others.
func (w *town) awaitPins() {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		n, err := w.gpuNode(ctx)
		if err != nil {
			return false, err.Error()
		}
		var starts []int32
		for _, p := range n.Spec.Pinned {
			for _, place := range p.Places {
				starts = append(starts, place.Start)
			}
		}
		slices.Sort(starts)
		return slices.Equal(starts, []int32{4, 5, 6}), fmt.Sprintf("pinned at %v, want 4, 5 and 6", starts)
	})
}

// keepPinned has the service's controller stop replicas on slices that are not pinned
// first, as whoever scales a service on pinned slices does.
func (w *town) keepPinned() {
	w.t.Helper()
	for pod, held := range w.Devices(migNode).Holding() {
		if !pinnedPlace(held[0]) {
			continue
		}
		name := types.NamespacedName{}
		name.Namespace, name.Name, _ = cut(pod)
		if name.Namespace != onlineNamespace {
			continue
		}
		_, err := w.Client().CoreV1().Pods(name.Namespace).Patch(w.t.Context(), name.Name, types.MergePatchType,
			[]byte(`{"metadata":{"annotations":{"controller.kubernetes.io/pod-deletion-cost":"100"}}}`), metav1.PatchOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func pinnedPlace(d devices.Device) bool { return d.Resource == oneG && d.Start >= 4 }

// onPinned are the pods on pinned slices, with their UIDs.
func (w *town) onPinned() map[int]types.UID {
	w.t.Helper()
	found := map[int]types.UID{}
	for pod, held := range w.Devices(migNode).Holding() {
		namespace, name, _ := cut(pod)
		if !pinnedPlace(held[0]) {
			continue
		}
		p, err := w.Client().CoreV1().Pods(namespace).Get(w.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		found[held[0].Start] = p.UID
	}
	if len(found) != pinnedEach {
		w.t.Errorf("%d pinned slices are held, want %d: %v", len(found), pinnedEach, found)
	}
	return found
}

// awaitMessage waits until the verdict about a subject has this text.
func (w *town) awaitMessage(subject, text string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		var answer struct {
			Verdicts []struct{ Subject, Reason, Message string }
		}
		if err := w.ask(ctx, "/verdicts?subject="+subject, &answer); err != nil {
			return false, err.Error()
		}
		ok := len(answer.Verdicts) == 1 && strings.Contains(answer.Verdicts[0].Message, text)
		return ok, fmt.Sprintf("%s: %+v, want that %s", subject, answer.Verdicts, text)
	})
}

// written returns what was written to the cards since they were installed.
func (w *town) written() []simgpu.Write {
	w.t.Helper()
	cards, err := w.Cards(migNode)
	if err != nil {
		w.t.Fatal(err)
	}
	all, err := cards.Writes()
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(x simgpu.Write) bool { return x.By == "install" })
}

// wantPinnedUntouched checks that nothing was written to a pinned slice.
func (w *town) wantPinnedUntouched() {
	w.t.Helper()
	for _, x := range w.written() {
		if x.Start >= 4 {
			w.t.Errorf("%s of profile %d at %d by %s, want it untouched", x.Op, x.Profile, x.Start, x.By)
		}
	}
	if n := w.Devices(migNode).FailedStarts(); n > 0 {
		w.t.Errorf("%d containers were started on slices that were gone", n)
	}
}

// awaitReshapes waits until the node's reshapes are in these states.
func (w *town) awaitReshapes(states ...string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		n, err := w.gpuNode(ctx)
		if err != nil {
			return false, err.Error()
		}
		var got []string
		for _, s := range n.Status.Reshapes {
			got = append(got, s.State)
		}
		return slices.Equal(got, states), fmt.Sprintf("reshapes %+v of %+v, want %v", n.Status.Reshapes, n.Spec.Reshapes, states)
	})
}

// awaitReady waits until so many replicas of the service are ready.
func (w *town) awaitReady(replicas int32) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		d := &appsv1.Deployment{}
		err := w.api.Get(ctx, client.ObjectKey{Namespace: onlineNamespace, Name: "chat"}, d)
		return err == nil && d.Status.ReadyReplicas == replicas && d.Status.Replicas == replicas,
			fmt.Sprintf("%d of %d replicas are ready, want %d (%v)", d.Status.ReadyReplicas, d.Status.Replicas, replicas, err)
	})
}
