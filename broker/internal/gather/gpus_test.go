package gather_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/gpunodes"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/mig"
)

const mig1g = "nvidia.com/mig-1g.5gb"

// agentSees is a GPUNode with an A100 in seven, of which these pods of serving hold one
// each, by slot.
func agentSees(name string, held map[int32]string) *v1alpha1.GPUNode {
	n := &v1alpha1.GPUNode{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: v1alpha1.GPUNodeStatus{
			Heartbeat: metav1.NewMicroTime(now.Add(-time.Second)),
			Boards: []v1alpha1.MIGBoard{{Name: "A100", Slots: 8, Profiles: []v1alpha1.MIGProfile{
				{Profile: 0, Name: "1g.5gb", Compute: 1, Memory: 1, Max: 7, Starts: []int32{0, 1, 2, 3, 4, 5, 6}},
				{Profile: 2, Name: "3g.20gb", Compute: 3, Memory: 4, Max: 2, Starts: []int32{0, 4}},
				{Profile: 3, Name: "4g.20gb", Compute: 4, Memory: 4, Max: 1, Starts: []int32{0}},
			}}},
			GPUs: []v1alpha1.GPUStatus{{UUID: "GPU-" + name, MIG: true, Board: "A100", Healthy: true}},
			Conditions: []metav1.Condition{
				{Type: v1alpha1.GPUNodeReady, Status: metav1.ConditionTrue, Reason: "Reading"},
				{Type: v1alpha1.GPUNodeLendable, Status: metav1.ConditionTrue, Reason: "Checked"},
			},
		},
	}
	gpu := &n.Status.GPUs[0]
	var layout []mig.Instance
	for start := range int32(7) {
		in := v1alpha1.MIGInstance{
			MIGPlacement: v1alpha1.MIGPlacement{Name: "1g.5gb", Start: start, Generation: 1},
			Resource:     mig1g, State: v1alpha1.InstanceReady, Processes: ptr.To[int32](0),
		}
		if pod, is := held[start]; is {
			namespace, name, _ := strings.Cut(pod, "/")
			in.Holder = &v1alpha1.GPUHolder{Namespace: namespace, Name: name}
		}
		gpu.Instances = append(gpu.Instances, in)
		layout = append(layout, mig.Instance{Placed: mig.Placed{Start: int(start)}, Generation: 1})
	}
	gpu.Fingerprint = mig.Fingerprint(layout)
	return n
}

// onSlices is a cluster whose service has its pods on slices of A100s, with a policy for
// them.
func onSlices(policies func(*v1alpha1.LendingPolicy), more ...client.Object) []client.Object {
	slice := v1alpha1.FlavorQuota{
		Name: "a100-1g", Resource: mig1g, NodeSelector: map[string]string{"product": "a100"},
		SliceOf: "a100", Slices: &v1alpha1.GPUSlices{Compute: 1, Memory: 1},
	}
	chat := deployment("chat", 3, 0)
	chat.Spec.Template.Spec.NodeSelector = nil
	chat.Spec.Template.Spec.Containers[0].Resources.Limits = resourceList{mig1g: resource.MustParse("1")}
	p := policy("chat", 14)
	p.Spec.MIG = &v1alpha1.MIGPolicy{Pinned: 3, Reshape: v1alpha1.ReshapeIdle}
	policies(p)
	objects := []client.Object{
		cut("gpu-0"), cut("gpu-1"), namespace("serving"), namespace("research"),
		tenant("serving", flavor("a100", "a100", 2), slice), tenant("research", flavor("a100", "a100", 0), slice),
		chat, replicaSet("chat"), p,
		&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "default"}},
	}
	return append(objects, more...)
}

type resourceList = corev1.ResourceList

// cut is a node with one A100 in seven.
func cut(name string) *corev1.Node {
	n := node(name, "a100", 0)
	n.Status.Allocatable = resourceList{mig1g: resource.MustParse("7")}
	n.Status.Capacity = n.Status.Allocatable
	return n
}

// onSlice is a pod that holds one.
func onSlice(p pod, node string) pod {
	p.Spec.Containers[0].Resources.Limits = resourceList{mig1g: resource.MustParse("1")}
	return p.on(node)
}

func gatherGPUs(t *testing.T, objects ...client.Object) *gather.View {
	t.Helper()
	g, _ := newGatherer(objects...)
	g.GPUs = &gpunodes.Nodes{Cache: g.Cache, Live: g.Live}
	g.Reshapes = gather.ReshapeCosts{Change: 30 * time.Second, Undo: 20 * time.Second}
	view, err := g.Gather(t.Context(), now, 7)
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// Cards, pins and floors come of GPUNodes, policies and pods; whose a pod is says the loan.
func TestGPUs(t *testing.T) {
	loan := &v1alpha1.Loan{
		ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "tune-1"},
		Spec: v1alpha1.LoanSpec{
			Job: v1alpha1.JobRef{APIVersion: "batch/v1", Kind: "Job", Name: "tune", UID: "tune"}, Borrower: "research", Queue: "default",
			Resource: mig1g, Pods: 1, UnitsPerPod: 1,
			Grants: []v1alpha1.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "a100-1g", Count: 1}},
		},
	}
	tune := training("tune", 1, 0)
	tune.Spec.Suspend = ptr.To(false)
	view := gatherGPUs(t, onSlices(func(*v1alpha1.LendingPolicy) {},
		onSlice(online("chat-1"), "gpu-0").ready(), loan, tune, onSlice(trainer("tune-0", "tune"), "gpu-0"),
		agentSees("gpu-0", map[int32]string{4: "serving/chat-1", 0: "research/tune-0"}))...)
	nodes := view.Snapshot.Nodes
	if len(nodes) != 2 || len(nodes[0].Cards) != 1 || len(nodes[1].Cards) != 0 {
		t.Fatalf("nodes are %+v", nodes)
	}
	card := nodes[0].Cards[0]
	var uses []mig.Use
	for _, in := range card.Instances {
		uses = append(uses, in.Use)
	}
	want := []mig.Use{mig.Lent, mig.Idle, mig.Idle, mig.Idle, mig.Pinned, mig.Pinned, mig.Pinned}
	if diff := cmp.Diff(want, uses); diff != "" || card.Instances[0].Owner != "research/tune-1" || card.Fixed != "" {
		t.Errorf("the card is %+v (-want +got):\n%s", card, diff)
	}
	if got := nodes[0].Units[0]; got.Pinned != 3 || got.Capacity != 7 || nodes[0].Unlendable != "" {
		t.Errorf("units are %+v", got)
	}
	if len(view.Snapshot.Boards) != 1 || view.Snapshot.Boards[0].Board != card.Board || view.Snapshot.Flavors[0].Profile != "1g.5gb" {
		t.Errorf("boards are %+v, flavors %+v", view.Snapshot.Boards, view.Snapshot.Flavors)
	}
	l := view.Snapshot.Lenders[0]
	if l.Problem != nil || len(l.Floors) != 1 || l.Floors[0].Name != gather.FloorPinned || l.Floors[0].Units != 3 {
		t.Errorf("problem %+v, floors %+v", l.Problem, l.Floors)
	}
	rules := lend.MIGRules{Reshape: true, MinTrough: 30 * time.Minute, Change: 30 * time.Second, Undo: 20 * time.Second}
	if diff := cmp.Diff(&rules, l.MIG); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if pins := view.Pins["gpu-0"]; len(pins) != 1 || len(pins[0].Places) != 3 || pins[0].Places[0].Start != 4 {
		t.Errorf("pins are %+v", view.Pins)
	}
	if s := view.Slices["serving/chat"]; s == nil || s.Pinned != 3 || s.Cards != 1 || s.Units != 3 || s.Unseen != 1 {
		t.Errorf("slices are %+v", s)
	}
}

// What a policy says of slices that cannot be is its problem, by the field's name.
func TestMIGProblems(t *testing.T) {
	tests := []struct {
		name   string
		change func(*v1alpha1.LendingPolicy)
		want   string
	}{
		{"none", func(*v1alpha1.LendingPolicy) {}, ""},
		{"another profile", func(p *v1alpha1.LendingPolicy) { p.Spec.MIG.Profile = "2g.10gb" },
			"spec.mig.profile: 2g.10gb is not the profile of flavor a100-1g, which is 1g.5gb (nvidia.com/mig-1g.5gb)"},
		{"too many", func(p *v1alpha1.LendingPolicy) { p.Spec.MIG.Pinned = 8 }, "spec.mig.pinned: a GPU has room for 7 of 1g.5gb at most"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			view := gatherGPUs(t, onSlices(test.change, agentSees("gpu-0", nil), agentSees("gpu-1", nil))...)
			got := ""
			if p := view.Snapshot.Lenders[0].Problem; p != nil {
				got = p.Message
			}
			if got != test.want {
				t.Errorf("the problem is %q, want %q", got, test.want)
			}
		})
	}
	t.Run("whole GPUs", func(t *testing.T) {
		p := policy("chat", 12)
		p.Spec.MIG = &v1alpha1.MIGPolicy{Pinned: 1}
		objects := cluster()
		objects[len(objects)-1] = p
		view := gatherGPUs(t, objects...)
		if got := view.Snapshot.Lenders[0].Problem; got == nil || got.Message != "spec.mig: flavor h100 is nvidia.com/gpu, which is no slice of a GPU" {
			t.Errorf("the problem is %+v", got)
		}
	})
	t.Run("little grace", func(t *testing.T) {
		view := gatherGPUs(t, onSlices(func(p *v1alpha1.LendingPolicy) {
			p.Spec.Reclaim.MaxGrace = metav1.Duration{Duration: 20 * time.Second}
		}, agentSees("gpu-0", nil))...)
		if notes := strings.Join(view.Notes["serving/chat"], "; "); !strings.Contains(notes, "maxGrace is 20s, and undoing takes 20s of it") {
			t.Errorf("notes are %q", notes)
		}
	})
}

// Nothing new is lent where nothing was heard from the agent, and the instances are unknown.
func TestSilentAgent(t *testing.T) {
	seen := agentSees("gpu-0", nil)
	seen.Status.Heartbeat = metav1.NewMicroTime(now.Add(-time.Hour))
	view := gatherGPUs(t, onSlices(func(*v1alpha1.LendingPolicy) {}, seen)...)
	n := view.Snapshot.Nodes[0]
	if n.Unlendable == "" || n.Cards[0].Fixed == "" || n.Cards[0].Instances[0].Use != mig.Unknown {
		t.Errorf("the node is %+v", n)
	}
	if _, writes := view.Pins["gpu-0"]; writes {
		t.Error("what is pinned is changed although nothing is known")
	}
	if other := view.Snapshot.Nodes[1]; other.Unlendable != "" {
		t.Errorf("a node without an agent is not lent: %s", other.Unlendable)
	}
}

// A policy that lends nothing keeps nothing: one that only advises, one with a problem, and
// the second for one target.
func TestPinsOfWhoLends(t *testing.T) {
	tests := []struct {
		name   string
		change func(*v1alpha1.LendingPolicy)
		twice  bool
		want   int64
	}{
		{"lends", func(*v1alpha1.LendingPolicy) {}, false, 3},
		{"twice", func(*v1alpha1.LendingPolicy) {}, true, 3},
		{"advises", func(p *v1alpha1.LendingPolicy) { p.Spec.Mode = v1alpha1.ModeAdvise }, false, 0},
		{"problem", func(p *v1alpha1.LendingPolicy) { p.Spec.LowWater = "much" }, false, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var first *v1alpha1.LendingPolicy
			objects := onSlices(func(p *v1alpha1.LendingPolicy) { test.change(p); first = p }, agentSees("gpu-0", nil))
			if test.twice {
				second := first.DeepCopy()
				second.Name = "later"
				objects = append(objects, second)
			}
			view := gatherGPUs(t, objects...)
			if got := view.Snapshot.Nodes[0].Units[0].Pinned; got != test.want {
				t.Errorf("%d slices are pinned, want %d", got, test.want)
			}
			for _, l := range view.Snapshot.Lenders {
				if keeps := l.Name == "serving/chat" && test.want > 0; keeps != (len(l.Floors) == 1) || keeps != (view.Slices[l.Name] != nil) {
					t.Errorf("%s has the floors %+v and the slices %+v", l.Name, l.Floors, view.Slices[l.Name])
				}
			}
		})
	}
}

// backwards lists Nodes in another order: a cache has none.
type backwards struct{ client.Reader }

func (b backwards) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	err := b.Reader.List(ctx, list, opts...)
	if nodes, is := list.(*corev1.NodeList); is {
		slices.Reverse(nodes.Items)
	}
	return err
}

// Of boards of one name, the one of the first node by name keeps it.
func TestBoardNamesStay(t *testing.T) {
	other := agentSees("gpu-1", nil)
	other.Status.Boards[0].Profiles[0].Max = 6
	objects := onSlices(func(*v1alpha1.LendingPolicy) {}, agentSees("gpu-0", nil), other)
	g, _ := newGatherer(objects...)
	for _, reader := range []client.Reader{g.Cache, backwards{g.Cache}} {
		g.Cache = reader
		g.GPUs = &gpunodes.Nodes{Cache: reader, Live: g.Live}
		view, err := g.Gather(t.Context(), now, 7)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, n := range view.Snapshot.Nodes {
			got[n.Name] = n.Cards[0].Board
		}
		if diff := cmp.Diff(map[string]string{"gpu-0": "A100", "gpu-1": "A100 (gpu-1)"}, got); diff != "" {
			t.Errorf("boards (-want +got):\n%s", diff)
		}
	}
}

// Slices of quota of their own are lent by what the cards show, as those are that draw on
// the quota of whole GPUs: one that somebody else made is nobody's to lend.
func TestSlicesOfQuotaOfTheirOwn(t *testing.T) {
	seen := agentSees("gpu-0", nil)
	seen.Status.GPUs[0].Instances[2].State = v1alpha1.InstanceForeign
	objects := onSlices(func(p *v1alpha1.LendingPolicy) { p.Spec.MIG = nil }, seen)
	for _, o := range objects {
		if q, is := o.(*v1alpha1.TenantQuota); is {
			own := &q.Spec.Flavors[1]
			if own.SliceOf, own.Slices = "", nil; q.Name == "serving" {
				own.Nominal = 14
			}
		}
	}
	s := gatherGPUs(t, objects...).Snapshot
	if diff := cmp.Diff([]lend.Flavor{{Name: "a100-1g", Profile: "1g.5gb"}}, s.Flavors); diff != "" {
		t.Errorf("flavors (-want +got):\n%s", diff)
	}
	if n := s.Nodes[0]; n.Units[0].Capacity != 7 || n.Cards[0].Instances[2].Use != mig.Foreign {
		t.Errorf("the node is %+v", n)
	}
}

// How long the way back takes matters as long as something is on it, whatever the policy
// says by now of making more: the loans there end that much earlier.
func TestReshapedBefore(t *testing.T) {
	never := func(p *v1alpha1.LendingPolicy) { p.Spec.MIG.Reshape = v1alpha1.ReshapeNever }
	rules := func(reshape bool) *lend.MIGRules {
		return &lend.MIGRules{Reshape: reshape, MinTrough: 30 * time.Minute, Change: 30 * time.Second, Undo: 20 * time.Second}
	}
	for name, tc := range map[string]struct {
		policy func(*v1alpha1.LendingPolicy)
		lender string
		state  string
		want   *lend.MIGRules
	}{
		"may be":              {func(*v1alpha1.LendingPolicy) {}, "serving/chat", v1alpha1.ReshapeMade, rules(true)},
		"may not any more":    {never, "serving/chat", v1alpha1.ReshapeMade, rules(false)},
		"is being made":       {never, "serving/chat", v1alpha1.ReshapeMaking, rules(false)},
		"says nothing of it":  {func(p *v1alpha1.LendingPolicy) { p.Spec.MIG = nil }, "serving/chat", v1alpha1.ReshapeMade, rules(false)},
		"is wrong by now":     {func(p *v1alpha1.LendingPolicy) { p.Spec.MIG.Pinned = 8 }, "serving/chat", v1alpha1.ReshapeMade, rules(false)},
		"was undone":          {never, "serving/chat", v1alpha1.ReshapeUndone, nil},
		"was somebody else's": {never, "serving/other", v1alpha1.ReshapeMade, nil},
	} {
		t.Run(name, func(t *testing.T) {
			seen := agentSees("gpu-0", nil)
			seen.Spec.Reshapes = []v1alpha1.Reshape{{
				ID: "r", GPU: "GPU-gpu-0", Lender: tc.lender, From: "a100-1g", To: "a100-4g",
				Destroy: []v1alpha1.MIGPlacement{{}}, Create: []v1alpha1.MIGPlacement{{Profile: 3}},
			}}
			seen.Status.Reshapes = []v1alpha1.ReshapeStatus{{ID: "r", State: tc.state}}
			got := gatherGPUs(t, onSlices(tc.policy, seen)...).Snapshot.Lenders[0].MIG
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}
