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
	wholeFlavor = "a100"
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
	w.settleSliced(int64(node.Cards.Count), 0)
	return w
}

// settleSliced makes the tenants of a town with cards that are cut and whole ones, and the
// queue, and has each size of slices judged.
func (w *town) settleSliced(cards, whole int64) {
	w.t.Helper()
	w.cards = cards
	w.auditor, w.others = w.auditorOf(oneG, oneGFlavor), []*audit.Auditor{w.auditorOf(fourG, fourGFlavor)}
	w.slicedTeam(onlineNamespace, cards+whole)
	w.slicedTeam(trainingNamespace, 0)
	w.create(&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: trainingNamespace, Name: "default"}})
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
	w.tenant(name, "town",
		v1alpha1.FlavorQuota{Name: wholeFlavor, Resource: gpu, Nominal: cards},
		v1alpha1.FlavorQuota{Name: oneGFlavor, Resource: oneG, SliceOf: wholeFlavor, Slices: &v1alpha1.GPUSlices{Compute: 1, Memory: 1}},
		v1alpha1.FlavorQuota{Name: fourGFlavor, Resource: fourG, SliceOf: wholeFlavor, Slices: &v1alpha1.GPUSlices{Compute: 4, Memory: 4}})
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
	w.create(slicedPolicy(7*w.cards, reshape))
}

func slicedPolicy(owned int64, reshape v1alpha1.ReshapeMode) *v1alpha1.LendingPolicy {
	p := lends(owned)
	p.Spec.MIG = &v1alpha1.MIGPolicy{Pinned: pinnedEach, Reshape: reshape, MinTrough: &metav1.Duration{Duration: time.Second}}
	return p
}

// openOnPinned starts the service with three replicas when it is known which slices are
// pinned: they get these, and are the last to go. It starts them again where the scheduler
// had not heard of the pins yet: then these follow the pods.
func (w *town) openOnPinned(reshape v1alpha1.ReshapeMode) {
	w.t.Helper()
	w.openOnceKnown(reshape)
	for range 3 {
		if w.lastToGo() == pinnedEach {
			return
		}
		w.scale(0)
		w.awaitReady(0)
		w.awaitPins()
		w.scale(pinnedEach)
		w.awaitReady(pinnedEach)
	}
	w.t.Fatal("the service's pods are not on pinned slices")
}

// openOnceKnown starts the service with three replicas once the API says which slices are
// pinned.
func (w *town) openOnceKnown(reshape v1alpha1.ReshapeMode) {
	w.t.Helper()
	w.serveOnSlices(0, reshape)
	w.awaitPins()
	w.scale(pinnedEach)
	w.awaitReady(pinnedEach)
}

// lastToGo counts the service's pods on the slices pinned at first that say that others
// are to go before them.
func (w *town) lastToGo() int {
	w.t.Helper()
	pods, err := w.Client().CoreV1().Pods(onlineNamespace).List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	n, holding := 0, w.Devices(migNode).Holding()
	for _, p := range pods.Items {
		held := holding[p.Namespace+"/"+p.Name]
		if p.Annotations[corev1.PodDeletionCost] != "" && len(held) == 1 && pinnedPlace(held[0]) {
			n++
		}
	}
	return n
}

// lendMade waits until the job has the slice of four that is made for it.
func (w *town) lendMade(job string) {
	w.t.Helper()
	w.awaitLoans(job)
	w.awaitBound(trainingNamespace, 1)
	w.awaitReshapes(v1alpha1.ReshapeMade)
}

// morning raises the load and brings all replicas, and waits until everything is back.
func (w *town) morning() {
	w.t.Helper()
	w.dial.set(5, 0)
	w.scale(7)
	w.awaitReady(7)
	w.awaitLoans()
	w.awaitReshapes()
}

// growAlone has the scheduler alone make room for two more replicas than are on pinned
// slices, and then starts the broker again.
func (w *town) growAlone() {
	w.t.Helper()
	w.awaitAgreement()
	if err := w.Part(lab.Broker).Stop(); err != nil {
		w.t.Fatal(err)
	}
	w.scale(pinnedEach + 2)
	w.wantSoon("without a broker", pinnedEach+2)
	w.awaitReady(pinnedEach + 2)
	w.startBroker()
	w.awaitLoans()
	w.awaitReshapes()
}

// wantSoon waits until so many online pods are bound, and checks that it took no longer
// than they may have to wait.
func (w *town) wantSoon(when string, pods int) {
	w.t.Helper()
	waited := w.awaitBound(onlineNamespace, pods)
	w.t.Logf("%s, the online pods waited %s; grace %s", when, waited.Round(time.Millisecond), maxGrace)
	if limit := maxGrace + slack; waited > limit {
		w.t.Errorf("%s, the online pods waited %s, more than %s", when, waited, limit)
	}
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

// awaitPins waits until the slices of each card are pinned that leave the most for others.
func (w *town) awaitPins() {
	w.t.Helper()
	w.awaitPinnedAs(func(got []int32) bool { return slices.Equal(got, []int32{4, 5, 6}) }, "4, 5 and 6 of each")
}

// awaitPinned waits until as many slices of each card are pinned as the policy says. Which,
// the service's pods say, once they hold some.
func (w *town) awaitPinned() {
	w.t.Helper()
	w.awaitPinnedAs(func(got []int32) bool { return len(got) == pinnedEach }, "3 of each")
}

func (w *town) awaitPinnedAs(right func([]int32) bool, want string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		n, err := w.gpuNode(ctx)
		if err != nil {
			return false, err.Error()
		}
		got := map[string][]int32{}
		for _, p := range n.Spec.Pinned {
			for _, place := range p.Places {
				got[p.GPU] = append(got[p.GPU], place.Start)
			}
			slices.Sort(got[p.GPU])
		}
		cut := 0
		for _, g := range n.Status.GPUs {
			if len(g.Instances) > 0 {
				cut++
				if !right(got[g.UUID]) {
					return false, fmt.Sprintf("pinned at %v, want %s", got, want)
				}
			}
		}
		return cut > 0 && cut == len(got), fmt.Sprintf("pinned at %v on %d cut cards, want %s", got, cut, want)
	})
}

// watchPins notes which slices of the node's cards are pinned from now on, until it is asked.
func (w *town) watchPins() (seen func() [][]int) {
	w.t.Helper()
	api, err := client.NewWithWatch(w.Config(), client.Options{Scheme: w.api.Scheme()})
	if err != nil {
		w.t.Fatal(err)
	}
	nodes, err := api.Watch(w.t.Context(), &v1alpha1.GPUNodeList{})
	if err != nil {
		w.t.Fatal(err)
	}
	var sets [][]int
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range nodes.ResultChan() {
			n, ok := e.Object.(*v1alpha1.GPUNode)
			if !ok || n.Name != migNode {
				continue
			}
			var set []int
			for _, p := range n.Spec.Pinned {
				for _, place := range p.Places {
					set = append(set, int(place.Start))
				}
			}
			slices.Sort(set)
			sets = append(sets, set)
		}
	}()
	return func() [][]int {
		nodes.Stop()
		<-done
		return sets
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

// awaitHolding waits until so many pods hold slices.
func (w *town) awaitHolding(pods int) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(context.Context) (bool, string) {
		holding := w.Devices(migNode).Holding()
		return len(holding) == pods, fmt.Sprintf("%d pods hold slices, want %d: %v", len(holding), pods, holding)
	})
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
	w.awaitReadyOf("chat", replicas)
}

func (w *town) awaitReadyOf(name string, replicas int32) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		d := &appsv1.Deployment{}
		err := w.api.Get(ctx, client.ObjectKey{Namespace: onlineNamespace, Name: name}, d)
		return err == nil && d.Status.ReadyReplicas == replicas && d.Status.Replicas == replicas,
			fmt.Sprintf("%d of %d replicas of %s are ready, want %d (%v)", d.Status.ReadyReplicas, d.Status.Replicas, name, replicas, err)
	})
}
