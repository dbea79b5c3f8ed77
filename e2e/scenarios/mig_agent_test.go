package scenarios

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

const (
	migNode = "mig-0"
	oneG    = "nvidia.com/mig-1g.5gb"
	fourG   = "nvidia.com/mig-4g.20gb"

	oneGProfile  mig.ProfileID = 0
	fourGProfile mig.ProfileID = 3
)

// cutInSeven is a node with cards that are cut in seven.
func cutInSeven(name string, cards int) lab.NodeSpec {
	return lab.NodeSpec{Name: name, Cards: &lab.Cards{
		Count: cards, Board: "A100-40GB", Layout: lab.Places(oneGProfile, 0, 1, 2, 3, 4, 5, 6),
	}}
}

// bench is a lab with one card and its agent, of which the test is the broker.
type bench struct {
	*lab.Lab
	t     *testing.T
	api   client.Client
	cards *simgpu.Sim
	// rounds numbers the reshapes.
	rounds int
}

func newBench(t *testing.T) *bench {
	t.Helper()
	definitions, err := os.ReadFile("../../deploy/crds/ebbtide.dev_gpunodes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	l := labtest.New(t, lab.Options{
		NoPrometheus: true, Manifests: [][]byte{definitions, []byte(agentRights)},
		Nodes: []lab.NodeSpec{cutInSeven(migNode, 1)}, Agent: &lab.Program{Restart: true},
	})
	b := &bench{Lab: l, t: t}
	if b.api, err = lab.TypedClient(l.Config()); err != nil {
		t.Fatal(err)
	}
	if b.cards, err = l.Cards(migNode); err != nil {
		t.Fatal(err)
	}
	return b
}

// agentRights are what an agent needs, where nothing else of Ebbtide is installed.
const agentRights = `
kind: ClusterRole
apiVersion: rbac.authorization.k8s.io/v1
metadata: {name: bench-agent}
rules:
- {apiGroups: [ebbtide.dev], resources: [gpunodes], verbs: [get, list, watch, create]}
- {apiGroups: [ebbtide.dev], resources: [gpunodes/status], verbs: [patch, update]}
- {apiGroups: [""], resources: [nodes, pods], verbs: [get, list, watch]}
---
kind: ClusterRoleBinding
apiVersion: rbac.authorization.k8s.io/v1
metadata: {name: bench-agent}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: bench-agent}
subjects:
- {kind: ServiceAccount, namespace: ebbtide-agent, name: ebbtide-agent}
`

func (b *bench) node(ctx context.Context) (*v1alpha1.GPUNode, error) {
	n := &v1alpha1.GPUNode{}
	return n, b.api.Get(ctx, client.ObjectKey{Name: migNode}, n)
}

// awaitNode waits until the GPUNode is as it should be.
func (b *bench) awaitNode(want string, is func(*v1alpha1.GPUNode) bool) *v1alpha1.GPUNode {
	b.t.Helper()
	var n *v1alpha1.GPUNode
	labtest.Eventually(b.t, patience, func(ctx context.Context) (bool, string) {
		var err error
		n, err = b.node(ctx)
		return err == nil && is(n), fmt.Sprintf("the GPUNode's reshapes are %+v, its conditions %+v; want %s (%v)",
			n.Status.Reshapes, n.Status.Conditions, want, err)
	})
	return n
}

// change changes the GPUNode's spec, as the broker does.
func (b *bench) change(change func(*v1alpha1.GPUNodeSpec)) {
	b.t.Helper()
	labtest.Eventually(b.t, patience, func(ctx context.Context) (bool, string) {
		n, err := b.node(ctx)
		if err != nil {
			return false, err.Error()
		}
		change(&n.Spec)
		err = b.api.Update(ctx, n)
		if err != nil && !apierrors.IsConflict(err) { // the agent writes its status meanwhile
			b.t.Fatal(err)
		}
		return err == nil, fmt.Sprint(err)
	})
}

// start asks for four slices of one to be made into one of four, and returns the ID.
func (b *bench) start() string {
	b.t.Helper()
	n := b.awaitNode("a card that is read", func(n *v1alpha1.GPUNode) bool { return len(n.Status.GPUs) == 1 && len(n.Status.GPUs[0].Instances) == 7 })
	b.rounds++
	id := fmt.Sprintf("round-%d", b.rounds)
	r := v1alpha1.Reshape{
		ID: id, GPU: n.Status.GPUs[0].UUID, Lender: "serving/chat", From: "a100-1g", To: "a100-4g", Base: n.Status.GPUs[0].Fingerprint,
		Create: []v1alpha1.MIGPlacement{{Profile: int32(fourGProfile)}},
	}
	for start := range 4 {
		r.Destroy = append(r.Destroy, n.Status.GPUs[0].Instances[start].MIGPlacement)
	}
	b.change(func(s *v1alpha1.GPUNodeSpec) { s.Reshapes = append(s.Reshapes, r) })
	return id
}

// undo asks for a reshape to be undone.
func (b *bench) undo(id string) {
	b.t.Helper()
	b.change(func(s *v1alpha1.GPUNodeSpec) {
		for i := range s.Reshapes {
			s.Reshapes[i].Undo = s.Reshapes[i].Undo || s.Reshapes[i].ID == id
		}
	})
}

// drop takes a reshape that has come to its end off the list.
func (b *bench) drop(id string) {
	b.t.Helper()
	b.change(func(s *v1alpha1.GPUNodeSpec) {
		s.Reshapes = slices.DeleteFunc(s.Reshapes, func(r v1alpha1.Reshape) bool { return r.ID == id })
	})
	b.awaitNode("no reshape", func(n *v1alpha1.GPUNode) bool { return len(n.Status.Reshapes) == 0 })
}

// state is that of a reshape; empty if the agent has not taken it up.
func state(n *v1alpha1.GPUNode, id string) string {
	for _, s := range n.Status.Reshapes {
		if s.ID == id {
			return s.State
		}
	}
	return ""
}

// awaitState waits until a reshape is in the state.
func (b *bench) awaitState(id, want string) v1alpha1.ReshapeStatus {
	b.t.Helper()
	n := b.awaitNode(id+" "+want, func(n *v1alpha1.GPUNode) bool { return state(n, id) == want })
	i := slices.IndexFunc(n.Status.Reshapes, func(s v1alpha1.ReshapeStatus) bool { return s.ID == id })
	return n.Status.Reshapes[i]
}

// wantLayout checks what is on the card.
func (b *bench) wantLayout(want ...mig.Placed) {
	b.t.Helper()
	gpus, err := b.cards.Read(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	var got []mig.Placed
	for _, i := range gpus[0].Instances {
		if !i.Whole {
			b.t.Errorf("the instance of profile %d at %d has no compute instance", i.Profile, i.Start)
		}
		got = append(got, i.Placed)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("layout (-want +got):\n%s", diff)
	}
}

// awaitOffered waits until the node offers so many slices of both sizes.
func (b *bench) awaitOffered(ones, fours int64) {
	b.t.Helper()
	labtest.Eventually(b.t, patience, func(ctx context.Context) (bool, string) {
		n, err := b.Client().CoreV1().Nodes().Get(ctx, migNode, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		one, four := n.Status.Allocatable[oneG], n.Status.Allocatable[fourG]
		return one.Value() == ones && four.Value() == fours,
			fmt.Sprintf("the node offers %d×1g and %d×4g, want %d and %d", one.Value(), four.Value(), ones, fours)
	})
}

// sevens is the layout at the start, reshaped the one with a slice of four.
var (
	sevens   = lab.Places(oneGProfile, 0, 1, 2, 3, 4, 5, 6)
	reshaped = append(lab.Places(fourGProfile, 0), lab.Places(oneGProfile, 4, 5, 6)...)
)

// pinTop pins the slices that leave the most for others.
func (b *bench) pinTop() {
	b.t.Helper()
	n := b.awaitNode("a card", func(n *v1alpha1.GPUNode) bool { return len(n.Status.GPUs) == 1 })
	b.change(func(s *v1alpha1.GPUNodeSpec) {
		s.Pinned = []v1alpha1.PinnedSlices{{GPU: n.Status.GPUs[0].UUID, Places: []v1alpha1.MIGPlacement{{Start: 4}, {Start: 5}, {Start: 6}}}}
	})
}

// untouched checks that nothing was written to the slices of one at these slots.
func (b *bench) untouched(starts ...int) {
	b.t.Helper()
	writes, err := b.cards.Writes()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, w := range writes {
		if w.By != "install" && w.Profile == oneGProfile && slices.Contains(starts, w.Start) {
			b.t.Errorf("%s of the slice at %d by %s, want it untouched", w.Op, w.Start, w.By)
		}
	}
}

// online is a pod that runs on a slice of the node, as if it had been scheduled there.
func (b *bench) online(name string, start int) {
	b.t.Helper()
	if err := b.CreateNamespace(b.t.Context(), onlineNamespace, nil); err != nil {
		b.t.Fatal(err)
	}
	n, err := b.node(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	pod := slicePod(name, oneG)
	pod.Spec.NodeName = migNode
	pod.Annotations = map[string]string{v1alpha1.AnnotationInstances: fmt.Sprintf("%s/1g.5gb@%d#1", n.Status.GPUs[0].UUID, start)}
	if _, err := b.Client().CoreV1().Pods(onlineNamespace).Create(b.t.Context(), pod, metav1.CreateOptions{}); err != nil {
		b.t.Fatal(err)
	}
	labtest.Eventually(b.t, patience, func(context.Context) (bool, string) {
		held := b.Devices(migNode).Holding()[onlineNamespace+"/"+name]
		return len(held) == 1 && held[0].Start == start, fmt.Sprintf("pod %s holds %v, want the slice at %d", name, held, start)
	})
}

func slicePod(name string, resource corev1.ResourceName) *corev1.Pod {
	spec := podSpec("", 1, 1)
	spec.SchedulerName = ""
	units := corev1.ResourceList{resource: spec.Containers[0].Resources.Limits[gpu]}
	spec.Containers[0].Resources = corev1.ResourceRequirements{Limits: units, Requests: units}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
}

// An agent that is killed at any step of a change, or of its way back, finishes it when it
// is started again, and never touches what is pinned or held.
func TestMIGAgentKilledAtEachStep(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pinTop()
	for _, start := range []int{4, 5, 6} {
		b.online(fmt.Sprintf("chat-%d", start), start)
	}
	reached := 0
	for _, step := range agent.Failpoints() {
		began := time.Now()
		died := b.dieMaking(step)
		died = b.dieUndoing(step) || died
		if died {
			reached++
		}
		t.Logf("%s: killed %t, in %s", step, died, time.Since(began).Round(time.Millisecond))
	}
	// Of the fifteen, three are of repairs, which nothing needs here.
	if want := len(agent.Failpoints()) - 3; reached < want {
		t.Errorf("the agent died at %d steps, want %d", reached, want)
	}
	b.untouched(4, 5, 6)
	if n := b.Devices(migNode).FailedStarts(); n > 0 {
		t.Errorf("%d containers were started on slices that were gone", n)
	}
}

// dieMaking has a card reshaped by an agent that dies at a step.
func (b *bench) dieMaking(step string) bool {
	b.t.Helper()
	before := b.Part(lab.AgentOf(migNode)).PID()
	b.fail(step)
	id := b.start()
	b.awaitState(id, v1alpha1.ReshapeMade)
	b.wantLayout(reshaped...)
	b.awaitOffered(3, 1)
	return b.died(before)
}

// dieUndoing has the change undone by one.
func (b *bench) dieUndoing(step string) bool {
	b.t.Helper()
	id := fmt.Sprintf("round-%d", b.rounds)
	before := b.Part(lab.AgentOf(migNode)).PID()
	b.fail(step)
	b.undo(id)
	b.awaitState(id, v1alpha1.ReshapeUndone)
	b.wantLayout(sevens...)
	b.awaitOffered(7, 0)
	died := b.died(before)
	b.drop(id)
	return died
}

// fail has the agent die at a step; at none: not any more.
func (b *bench) fail(step string) {
	b.t.Helper()
	if err := b.FailAgent(migNode, step, 0); err != nil {
		b.t.Fatal(err)
	}
}

// died tells whether another agent runs than before. A failpoint that was not reached
// stays for the next round, where it is another's.
func (b *bench) died(before int) bool { return b.Part(lab.AgentOf(migNode)).PID() != before }

// A slice that cannot be destroyed although nobody holds it makes the agent take back what
// it did: nothing is lost, and the change is refused.
func TestMIGDestroyStaysInUse(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pinTop()
	n := b.awaitNode("a card", func(n *v1alpha1.GPUNode) bool { return len(n.Status.GPUs) == 1 })
	card := n.Status.GPUs[0].UUID
	if err := b.cards.Leak(card, mig.Placed{Profile: oneGProfile, Start: 2}); err != nil {
		t.Fatal(err)
	}
	id := b.start()
	status := b.awaitState(id, v1alpha1.ReshapeRefused)
	t.Logf("refused: %s", status.Message)
	b.wantLayout(sevens...)
	b.awaitOffered(7, 0)
	b.drop(id)
	b.untouched(4, 5, 6)
}

// A card that loses all its slices gets the pinned ones first, then the others.
func TestMIGCardLosesAllSlices(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pinTop()
	b.online("chat-4", 4)
	before, err := b.cards.Writes()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.RebootNode(t.Context(), migNode); err != nil {
		t.Fatal(err)
	}
	b.awaitOffered(7, 0)
	b.wantLayout(sevens...)
	after, err := b.cards.Writes()
	if err != nil {
		t.Fatal(err)
	}
	var order []int
	for _, w := range after[len(before):] {
		if w.Op == simgpu.OpCreateGI && w.Error == "" {
			order = append(order, w.Start)
		}
	}
	if diff := cmp.Diff([]int{4, 5, 6, 0, 1, 2, 3}, order); diff != "" {
		t.Errorf("created at (-want +got):\n%s", diff)
	}
}
