package gpunodes

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
)

// What an instance is used for: only one of which all is known, and nobody has it, is idle.
func TestUses(t *testing.T) {
	promised := []v1alpha1.InstanceRef{{GPU: "GPU-a", Profile: "1g.5gb", Start: 0, Generation: 1}}
	tests := []struct {
		name     string
		instance func(*v1alpha1.MIGInstance)
		holdings Holdings
		want     mig.Use
		owner    string
	}{
		{"nobody has it", func(*v1alpha1.MIGInstance) {}, nil, mig.Idle, ""},
		{"processes are not known", func(in *v1alpha1.MIGInstance) { in.Processes = nil }, nil, mig.Unknown, ""},
		{"a process without a pod", func(in *v1alpha1.MIGInstance) { in.Processes = ptr.To[int32](1) }, nil, mig.Busy, ""},
		{"an online pod", func(in *v1alpha1.MIGInstance) { *in = held(*in, "chat") },
			Holdings{pod("chat"): {Owner: "serving/chat"}}, mig.Busy, "serving/chat"},
		{"a pod of a loan", func(in *v1alpha1.MIGInstance) { *in = held(*in, "tune") },
			Holdings{pod("tune"): {Owner: "serving/tune-1", Lent: true}}, mig.Lent, "serving/tune-1"},
		{"a pod that leaves", func(in *v1alpha1.MIGInstance) { *in = held(*in, "chat") },
			Holdings{pod("chat"): {Owner: "serving/chat", Leaving: true}}, mig.Draining, "serving/chat"},
		{"a pod of a loan that leaves", func(in *v1alpha1.MIGInstance) { *in = held(*in, "tune") },
			Holdings{pod("tune"): {Owner: "serving/tune-1", Lent: true, Leaving: true}}, mig.Lent, "serving/tune-1"},
		{"a pod that nobody knows", func(in *v1alpha1.MIGInstance) { *in = held(*in, "chat") }, nil, mig.Draining, "serving/chat"},
		{"another pod of that name", func(in *v1alpha1.MIGInstance) { *in = held(*in, "chat"); in.Holder.UID = "old" },
			Holdings{pod("chat"): {UID: "new", Owner: "serving/chat"}}, mig.Draining, "serving/chat"},
		{"promised to an online pod", func(*v1alpha1.MIGInstance) {},
			Holdings{pod("chat"): {Owner: "serving/chat", Promised: promised}}, mig.Busy, "serving/chat"},
		{"promised to a loan's pod", func(*v1alpha1.MIGInstance) {},
			Holdings{pod("tune"): {Owner: "serving/tune-1", Lent: true, Promised: promised}}, mig.Lent, "serving/tune-1"},
		{"one made later was promised", func(in *v1alpha1.MIGInstance) { in.Generation = 2 },
			Holdings{pod("chat"): {Owner: "serving/chat", Promised: promised}}, mig.Idle, ""},
		{"a remnant", func(in *v1alpha1.MIGInstance) { in.State = v1alpha1.InstanceRemnant }, nil, mig.Remnant, ""},
		{"somebody else's", func(in *v1alpha1.MIGInstance) { in.State = v1alpha1.InstanceForeign }, nil, mig.Foreign, ""},
		{"one that is stuck", func(in *v1alpha1.MIGInstance) { in.State = v1alpha1.InstanceStuck }, nil, mig.Unknown, ""},
		{"a state that is not known", func(in *v1alpha1.MIGInstance) { in.State = "New" }, nil, mig.Unknown, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := instance(oneG, 0)
			test.instance(&in)
			s := look(t, gpuNode(t, []v1alpha1.MIGInstance{in}), test.holdings, 0)
			got := s.Cards[0].Instances[0]
			if got.Use != test.want || got.Owner != test.owner {
				t.Errorf("it is %s of %q, want %s of %q", got.Use, got.Owner, test.want, test.owner)
			}
			if s.Cards[0].Fixed != "" || s.Unlendable != "" {
				t.Errorf("fixed: %q, unlendable: %q", s.Cards[0].Fixed, s.Unlendable)
			}
		})
	}
}

// A pod that holds another instance than it was promised does not hold that one too.
func TestThePromiseEndsWithTheHolding(t *testing.T) {
	n := gpuNode(t, []v1alpha1.MIGInstance{instance(oneG, 0), held(instance(oneG, 1), "chat")})
	s := look(t, n, Holdings{pod("chat"): {Owner: "serving/chat", Promised: []v1alpha1.InstanceRef{{GPU: "GPU-a", Profile: "1g.5gb", Start: 0, Generation: 1}}}}, 0)
	if diff := cmp.Diff([]mig.Use{mig.Idle, mig.Busy}, uses(s)); diff != "" {
		t.Error(diff)
	}
}

// Of pods that were promised one slice, one that stays has it, and always the same one.
func TestTwoPromisesOfOneSlice(t *testing.T) {
	refs := []v1alpha1.InstanceRef{{GPU: "GPU-a", Profile: "1g.5gb", Start: 0, Generation: 1}}
	holdings := Holdings{pod("0"): {Owner: "serving/0", Leaving: true, Promised: refs}}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		holdings[pod(name)] = &Holding{Owner: "serving/" + name, Promised: refs}
	}
	holdings[pod("f")] = &Holding{Owner: "serving/f", Leaving: true, Promised: refs}
	for range 20 {
		if got := look(t, gpuNode(t, sevenOnes()), holdings, 0).Cards[0].Instances[0].Owner; got != "serving/a" {
			t.Fatalf("the slice is %s's", got)
		}
	}
}

// Instances that are not there are of the layout only where they are made when they are
// needed.
func TestAbsent(t *testing.T) {
	gone := instance(oneG, 1)
	gone.State, gone.Processes = v1alpha1.InstanceAbsent, nil
	n := gpuNode(t, []v1alpha1.MIGInstance{instance(oneG, 0), gone})
	if s := look(t, n, nil, 0); len(s.Cards[0].Instances) != 1 || !strings.Contains(s.Cards[0].Fixed, "missing") {
		t.Errorf("lost ones: %+v", s.Cards[0])
	}
	n = gpuNode(t, []v1alpha1.MIGInstance{instance(oneG, 0), gone}, func(n *v1alpha1.GPUNode) {
		n.Status.Allocation = v1alpha1.AllocationDynamicResources
	})
	s := look(t, n, nil, 0)
	if diff := cmp.Diff([]mig.Use{mig.Idle, mig.Idle}, uses(s)); diff != "" || s.Cards[0].Fixed != "" {
		t.Errorf("fixed: %q, uses: %s", s.Cards[0].Fixed, diff)
	}
}

// What keeps a layout from being changed, and a node from lending.
func TestFixed(t *testing.T) {
	condition := func(kind string, status metav1.ConditionStatus) func(*v1alpha1.GPUNode) {
		return func(n *v1alpha1.GPUNode) {
			for i := range n.Status.Conditions {
				if c := &n.Status.Conditions[i]; c.Type == kind {
					c.Status, c.Reason, c.Message = status, "Because", "it is so"
				}
			}
		}
	}
	tests := []struct {
		name              string
		change            func(*v1alpha1.GPUNode)
		fixed, unlendable string
		unknown           bool
	}{
		{"nothing", func(*v1alpha1.GPUNode) {}, "", "", false},
		{"the heartbeat is old", func(n *v1alpha1.GPUNode) { n.Status.Heartbeat = metav1.NewMicroTime(now.Add(-121 * time.Second)) },
			"two minutes", "two minutes", true},
		{"there was none", func(n *v1alpha1.GPUNode) { n.Status.Heartbeat = metav1.MicroTime{} }, "two minutes", "two minutes", true},
		{"the agent's clock is ahead", func(n *v1alpha1.GPUNode) { n.Status.Heartbeat = metav1.NewMicroTime(now.Add(time.Hour)) }, "", "", false},
		{"not ready", condition(v1alpha1.GPUNodeReady, metav1.ConditionFalse), "it is so (Because)", "", false},
		{"not lendable", condition(v1alpha1.GPUNodeLendable, metav1.ConditionFalse), "", "it is so (Because)", false},
		{"maybe lendable", condition(v1alpha1.GPUNodeLendable, metav1.ConditionUnknown), "", "it is so (Because)", false},
		{"no conditions", func(n *v1alpha1.GPUNode) { n.Status.Conditions = nil }, "has not said", "has not said", false},
		{"the GPU is ill", func(n *v1alpha1.GPUNode) {
			n.Status.GPUs[0].Healthy, n.Status.GPUs[0].Problem = false, "ECC"
		}, "ECC", "", false},
		{"another fingerprint", func(n *v1alpha1.GPUNode) { n.Status.GPUs[0].Fingerprint = "0@0#7" }, "fit together", "", false},
		{"a change was refused", func(n *v1alpha1.GPUNode) {
			n.Spec.Reshapes = []v1alpha1.Reshape{reshape("r1")}
			n.Status.Reshapes = []v1alpha1.ReshapeStatus{{ID: "r1", State: v1alpha1.ReshapeRefused, Message: "in use"}}
		}, "being closed", "", false},
		{"a change goes on", func(n *v1alpha1.GPUNode) { n.Spec.Reshapes = []v1alpha1.Reshape{reshape("r1")} }, "", "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := look(t, gpuNode(t, sevenOnes(), test.change), nil, 0)
			for what, pair := range map[string][2]string{"fixed": {s.Cards[0].Fixed, test.fixed}, "unlendable": {s.Unlendable, test.unlendable}} {
				if got, want := pair[0], pair[1]; want == "" && got != "" || !strings.Contains(got, want) {
					t.Errorf("%s: %q, want %q", what, got, want)
				}
			}
			if got := s.Cards[0].Instances[0].Use == mig.Unknown; got != test.unknown {
				t.Errorf("the instances are %v", uses(s))
			}
		})
	}
}

// Nothing is seen of a GPU that is not in MIG mode, or is cut as nobody says how.
func TestOtherGPUs(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.GPUNode){
		"whole":    func(n *v1alpha1.GPUNode) { n.Status.GPUs[0].MIG = false },
		"no board": func(n *v1alpha1.GPUNode) { n.Status.Boards = nil },
	} {
		if s := look(t, gpuNode(t, sevenOnes(), change), nil, 3); len(s.Cards) > 0 {
			t.Errorf("%s: %+v", name, s.Cards)
		}
	}
}

// Boards of one name that are not the same keep apart.
func TestBoards(t *testing.T) {
	one, two, three := gpuNode(t, nil), gpuNode(t, nil), gpuNode(t, nil)
	two.Name, two.UID, two.Status.Boards[0].Profiles = "gpu-1", "two", two.Status.Boards[0].Profiles[:3]
	three.Name, three.UID = "gpu-2", "three"
	_, list := read(t, one, two, three)
	var boards Boards
	var names []string
	for _, n := range list {
		names = append(names, n.Look(nil, nil, &boards).Cards[0].Board)
	}
	if diff := cmp.Diff([]string{"A100-40GB", "A100-40GB (gpu-1)", "A100-40GB"}, names); diff != "" {
		t.Error(diff)
	}
	all := boards.List()
	if len(all) != 2 || all[0].Board != names[0] || all[1].Board != names[1] || len(all[1].Profiles) != 3 {
		t.Errorf("boards are %+v", all)
	}
}
