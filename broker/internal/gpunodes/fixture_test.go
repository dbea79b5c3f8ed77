package gpunodes

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/boards"
)

const (
	oneG  = mig.ProfileID(0)
	fourG = mig.ProfileID(3)
	mig1g = "nvidia.com/mig-1g.5gb"
)

var now = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}()

// a100 is the board as an agent describes it.
func a100(t *testing.T) v1alpha1.MIGBoard {
	t.Helper()
	g, known := mig.Board("A100-40GB")
	if !known {
		t.Fatal("no such board")
	}
	b := v1alpha1.MIGBoard{Name: g.Board, Slots: int32(g.Slots)}
	for _, p := range g.Profiles {
		said := v1alpha1.MIGProfile{
			Profile: int32(p.ID), GIProfileID: int64(p.GIProfileID), Name: p.Name, Compute: int32(p.Compute),
			Memory: int32(p.Memory), Max: int32(p.Max), MemoryMiB: p.MemoryMiB, SMs: int32(p.SMs),
		}
		for _, start := range p.Starts {
			said.Starts = append(said.Starts, int32(start))
		}
		b.Profiles = append(b.Profiles, said)
	}
	return b
}

// instance is one that nobody holds.
func instance(profile mig.ProfileID, start int32) v1alpha1.MIGInstance {
	name := map[mig.ProfileID]string{oneG: "1g.5gb", fourG: "4g.20gb"}[profile]
	return v1alpha1.MIGInstance{
		MIGPlacement: v1alpha1.MIGPlacement{Profile: int32(profile), Name: name, Start: start, Generation: 1},
		Resource:     "nvidia.com/mig-" + name, State: v1alpha1.InstanceReady, Processes: ptr.To[int32](0),
	}
}

// held is one that a pod of serving or research holds.
func held(in v1alpha1.MIGInstance, pod string) v1alpha1.MIGInstance {
	in.Holder, in.Processes = &v1alpha1.GPUHolder{Namespace: "serving", Name: pod}, ptr.To[int32](1)
	return in
}

func sevenOnes() []v1alpha1.MIGInstance {
	var all []v1alpha1.MIGInstance
	for start := range int32(7) {
		all = append(all, instance(oneG, start))
	}
	return all
}

// gpuNode has one A100 with these instances.
func gpuNode(t *testing.T, instances []v1alpha1.MIGInstance, changes ...func(*v1alpha1.GPUNode)) *v1alpha1.GPUNode {
	t.Helper()
	n := &v1alpha1.GPUNode{
		ObjectMeta: metav1.ObjectMeta{Name: "gpu-0", UID: "node"},
		Status: v1alpha1.GPUNodeStatus{
			Heartbeat: metav1.NewMicroTime(now.Add(-10 * time.Second)),
			Boards:    []v1alpha1.MIGBoard{a100(t)},
			GPUs:      []v1alpha1.GPUStatus{{UUID: "GPU-a", MIG: true, Board: "A100-40GB", Healthy: true, Instances: instances}},
			Conditions: []metav1.Condition{
				{Type: v1alpha1.GPUNodeReady, Status: metav1.ConditionTrue, Reason: "Reading"},
				{Type: v1alpha1.GPUNodeLendable, Status: metav1.ConditionTrue, Reason: "Checked"},
			},
		},
	}
	for _, change := range changes {
		change(n)
	}
	gpu := &n.Status.GPUs[0]
	var there []mig.Instance
	for _, in := range gpu.Instances {
		if in.State != v1alpha1.InstanceAbsent || n.Status.Allocation == v1alpha1.AllocationDynamicResources {
			there = append(there, mig.Instance{Placed: boards.Placed(in.MIGPlacement), Generation: in.Generation})
		}
	}
	if gpu.Fingerprint == "" {
		gpu.Fingerprint = mig.Fingerprint(there)
	}
	return n
}

// read lists the nodes as they are in the API.
func read(t *testing.T, objects ...client.Object) (*Nodes, []*Node) {
	t.Helper()
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
	nodes := &Nodes{Cache: c, Live: c}
	list, err := nodes.List(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	return nodes, list
}

// look sees one node.
func look(t *testing.T, n *v1alpha1.GPUNode, holdings Holdings, pinned int) Sight {
	t.Helper()
	_, list := read(t, n)
	wants := map[string]int{}
	if pinned > 0 {
		wants[mig1g] = pinned
	}
	return list[0].Look(holdings, wants, &Boards{})
}

func pod(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "serving", Name: name}
}

// uses are those of a card's instances, by slot.
func uses(s Sight) []mig.Use {
	var all []mig.Use
	for _, in := range s.Cards[0].Instances {
		all = append(all, in.Use)
	}
	return all
}

// kept are the slots of what is pinned.
func kept(s Sight) []int {
	var all []int
	for _, gpu := range s.Pinned {
		for _, at := range gpu.Places {
			all = append(all, int(at.Start))
		}
	}
	return slices.Sorted(slices.Values(all))
}
