package slices

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// evening has a 2g that was made of two, and two that are to be made into another.
func evening() *v1alpha1.GPUNode {
	gn := node("2g.10gb@0 1g.5gb@2 1g.5gb@3 1g.5gb@4 1g.5gb@5 1g.5gb@6")
	reshape(gn, "made", v1alpha1.ReshapeMade, "1g.5gb@0 1g.5gb@1", "2g.10gb@0")
	reshape(gn, "going", v1alpha1.ReshapeMaking, "1g.5gb@2 1g.5gb@3", "2g.10gb@2")
	return gn
}

// What was reserved is there as long as every one of the instances is, of that generation,
// and none is to go.
func TestHas(t *testing.T) {
	ref := func(profile string, start int32, generation int64) v1alpha1.InstanceRef {
		return v1alpha1.InstanceRef{GPU: "a", Profile: profile, Start: start, Generation: generation}
	}
	for name, tc := range map[string]struct {
		refs []v1alpha1.InstanceRef
		set  func(*v1alpha1.GPUNode)
		want bool
	}{
		"none":                      {nil, nil, true},
		"one that stays":            {[]v1alpha1.InstanceRef{ref("1g.5gb", 4, 1)}, nil, true},
		"one that is gone":          {[]v1alpha1.InstanceRef{ref("1g.5gb", 1, 1)}, nil, false},
		"one that was made anew":    {[]v1alpha1.InstanceRef{ref("1g.5gb", 4, 2)}, nil, false},
		"one that is to go":         {[]v1alpha1.InstanceRef{ref("1g.5gb", 2, 1)}, nil, false},
		"two, of which one goes":    {[]v1alpha1.InstanceRef{ref("1g.5gb", 4, 1), ref("1g.5gb", 3, 1)}, nil, false},
		"what was made":             {[]v1alpha1.InstanceRef{ref("2g.10gb", 0, 1)}, nil, true},
		"what was made, going":      {[]v1alpha1.InstanceRef{ref("2g.10gb", 0, 1)}, func(gn *v1alpha1.GPUNode) { gn.Spec.Reshapes[0].Undo = true }, false},
		"on a GPU that is not well": {[]v1alpha1.InstanceRef{ref("1g.5gb", 4, 1)}, func(gn *v1alpha1.GPUNode) { gn.Status.GPUs[0].Healthy = false }, false},
		"one of the first change":   {[]v1alpha1.InstanceRef{ref("1g.5gb", 2, 1)}, func(gn *v1alpha1.GPUNode) { gn.Spec.Reshapes = gn.Spec.Reshapes[1:] }, false},
	} {
		t.Run(name, func(t *testing.T) {
			gn := evening()
			if tc.set != nil {
				tc.set(gn)
			}
			if new(Boards).Read(gn).Has(tc.refs) != tc.want {
				t.Errorf("it has them: %t", !tc.want)
			}
		})
	}
}

// Pods keep the kubelet from handing out what is gone only where that may be: by resource.
func TestUnsettled(t *testing.T) {
	ask := func(names ...corev1.ResourceName) (asks []Ask) {
		for _, name := range names {
			asks = append(asks, Ask{name, 1})
		}
		return asks
	}
	n := new(Boards).Read(evening())
	for _, tc := range []struct {
		asks []Ask
		want corev1.ResourceName
	}{{ask(oneG), oneG}, {ask(twoG), ""}, {ask(fourG), ""}, {ask(fourG, oneG), oneG}, {nil, ""}} {
		if got := n.Unsettled(tc.asks); got != tc.want {
			t.Errorf("of %v, %q is not settled, want %q", tc.asks, got, tc.want)
		}
	}
	turned := Reshape{State: v1alpha1.ReshapeUndoing, From: oneG, Resource: twoG}
	was := turned
	was.made = true
	for _, tc := range []struct {
		r        *Reshape
		resource corev1.ResourceName
		want     bool
	}{{&turned, oneG, true}, {&turned, twoG, true}, {&turned, fourG, false}, {&was, oneG, false}, {&was, twoG, true}, {&was, fourG, false}} {
		if tc.r.Unsettles(tc.resource) != tc.want {
			t.Errorf("made: %t; %s is not settled: %t", tc.r.made, tc.resource, !tc.want)
		}
	}
}

// A change got on if it is another, or in another state, or is to be undone now.
func TestGotOn(t *testing.T) {
	for name, tc := range map[string]struct {
		set  func(*v1alpha1.GPUNode)
		want bool
	}{
		"the same":      {func(*v1alpha1.GPUNode) {}, false},
		"another state": {func(gn *v1alpha1.GPUNode) { gn.Status.Reshapes[1].State = v1alpha1.ReshapeMade }, true},
		"to be undone":  {func(gn *v1alpha1.GPUNode) { gn.Spec.Reshapes[0].Undo = true }, true},
		"another change": {func(gn *v1alpha1.GPUNode) {
			gn.Spec.Reshapes[1].ID, gn.Status.Reshapes[1].ID = "next", "next"
		}, true},
		"one less": {func(gn *v1alpha1.GPUNode) { gn.Spec.Reshapes = gn.Spec.Reshapes[:1] }, true},
	} {
		gn := evening()
		tc.set(gn)
		n, before := new(Boards).Read(gn), new(Boards).Read(evening())
		if n.GotOn(before) != tc.want {
			t.Errorf("%s: it got on: %t", name, !tc.want)
		}
	}
}

// A pod has what it asks for and no more of what it was given, of that resource, whoever
// has its name elsewhere or had it before.
func TestSeats(t *testing.T) {
	gn := evening()
	at := gn.Status.GPUs[0].Instances
	at[1].Holder = &v1alpha1.GPUHolder{Namespace: "y", Name: "p"}
	at[2].Holder = &v1alpha1.GPUHolder{Namespace: "x", Name: "p", UID: "before"}
	at[3].Holder = &v1alpha1.GPUHolder{Namespace: "x", Name: "p", UID: "p"}
	n := new(Boards).Read(gn)
	all := make([]v1alpha1.InstanceRef, 0, len(n.Instances))
	for i := range n.Instances {
		all = append(all, n.Instances[i].InstanceRef)
	}
	room, rest := n.Room([]Pod{
		{UID: "p", Namespace: "x", Name: "p", Asks: []Ask{{oneG, 1}}, Reserved: all},
		{UID: "two", Namespace: "x", Name: "two", Asks: []Ask{{oneG, 2}, {twoG, 1}}, Reserved: all[4:]},
		{UID: "all", Namespace: "x", Name: "all", Asks: []Ask{{twoG, 2}}, Reserved: all},
	})
	if diff := cmp.Diff([]types.UID{"all", "", "", "p", "two", "two"}, room.by); diff != "" {
		t.Errorf("who has what (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][]Ask{nil, {{twoG, 1}}, {{twoG, 1}}}, rest); diff != "" {
		t.Errorf("what nobody knows (-want +got):\n%s", diff)
	}
}

// Each pod that has something of what a change made is named once.
func TestTakes(t *testing.T) {
	gn := node("2g.10gb@0 2g.10gb@2 1g.5gb@4")
	reshape(gn, "r", v1alpha1.ReshapeMade, "4g.20gb@0", "2g.10gb@0 2g.10gb@2")
	n := new(Boards).Read(gn)
	refs := []v1alpha1.InstanceRef{n.Instances[0].InstanceRef, n.Instances[1].InstanceRef}
	room, _ := n.Room([]Pod{
		{UID: "both", Asks: []Ask{{twoG, 2}}, Name: "both", Reserved: refs},
		{UID: "other", Asks: []Ask{{oneG, 1}}, Name: "other", Reserved: []v1alpha1.InstanceRef{n.Instances[2].InstanceRef}},
	})
	if diff := cmp.Diff([]types.UID{"both"}, room.Takes(0)); diff != "" {
		t.Error(diff)
	}
	if room, _ = n.Room(nil); room.Takes(0) != nil {
		t.Errorf("nobody has what was made, and it is said to be %v", room.Takes(0))
	}
}

// Once one of several changes is undone, the others are what they were.
func TestUndoneBesideOthers(t *testing.T) {
	gn := evening()
	gn.Spec.Reshapes[0].Destroy[1].Generation = 3
	n := new(Boards).Read(gn)
	after := n.Undone(func(id string) bool { return id == "going" })
	if len(after.Reshapes) != 1 || after.Reshapes[0].ID != "made" || after.Instances[0].made != 0 || after.Instances[0].Resource != twoG {
		t.Errorf("after the second is undone: %+v of %+v", after.Instances, after.Reshapes)
	}
	if len(after.Instances) != 6 || after.Instances[1].going >= 0 {
		t.Errorf("what was to go stays, once: %+v", after.Instances)
	}
	after = n.Undone(func(id string) bool { return id == "made" })
	if len(after.Reshapes) != 1 || after.Reshapes[0].ID != "going" || after.Instances[0].going != 0 {
		t.Errorf("after the first is undone: %+v of %+v", after.Instances, after.Reshapes)
	}
	if back := after.Instances[len(after.Instances)-2:]; len(after.Instances) != 7 || back[0].Start != 0 || back[1].Start != 1 || back[1].Generation != 0 {
		t.Errorf("what comes back is %+v", back)
	}
	if all := n.Undone(func(string) bool { return false }); len(all.Instances) != 6 || len(all.Reshapes) != 2 {
		t.Errorf("without any undone: %+v of %+v", all.Instances, all.Reshapes)
	}
}

// Why there is none says of each slice what has become of it, and counts none that is left.
func TestWhy(t *testing.T) {
	gn := evening()
	gn.Spec.Reshapes = gn.Spec.Reshapes[1:] // it is the first then
	gn.Spec.Pinned = []v1alpha1.PinnedSlices{{GPU: "a", Places: placesOf(a100(), "1g.5gb@4 1g.5gb@5 1g.5gb@6")}}
	n := new(Boards).Read(gn)
	for name, tc := range map[string]struct {
		who  Who
		want string
	}{
		"who has three left": {Who{Online: true, Pins: true}, "5 slices of nvidia.com/mig-1g.5gb are on the node, and the pod asks for 4: 2 being made into others"},
		"who has none":       {Who{Loan: &Loan{}}, "5 slices of nvidia.com/mig-1g.5gb are on the node, and the pod asks for 4: 3 pinned for services, 2 being made into others"},
	} {
		room, _ := n.Room(nil)
		if _, why := room.Find("p", &tc.who, []Ask{{oneG, 4}}); why != tc.want {
			t.Errorf("%s: %s, want %s", name, why, tc.want)
		}
	}
	// What was made is for loans, also where nobody knows whether a process is on it.
	gn = evening()
	gn.Status.GPUs[0].Instances[0].Processes = nil
	if got := find(new(Boards).Read(gn), &Who{Online: true}, twoG, 1); got == "a/2g.10gb@0#1" {
		t.Error("an online pod gets what was made for a loan")
	}
	want := "1 slices of nvidia.com/mig-2g.10gb are on the node, and the pod asks for 1: 1 made for loans"
	if got := find(new(Boards).Read(evening()), &Who{Online: true}, twoG, 1); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What an agent says is read whatever its order, and a change goes back if it says so.
func TestRead(t *testing.T) {
	gn := evening()
	gpus := gn.Status.GPUs
	gpus[0].Instances[0], gpus[0].Instances[5] = gpus[0].Instances[5], gpus[0].Instances[0]
	gn.Status.GPUs = []v1alpha1.GPUStatus{{UUID: "b", Board: gpus[0].Board, Healthy: true, Instances: gpus[0].Instances[1:2]}, gpus[0]}
	gn.Spec.Pinned = []v1alpha1.PinnedSlices{{GPU: "a", Places: placesOf(a100(), "2g.10gb@0")}}
	gn.Status.Reshapes[1].State = v1alpha1.ReshapeUndoing
	n := new(Boards).Read(gn)
	var refs []string
	for i := range n.Instances {
		refs = append(refs, n.Instances[i].String())
	}
	want := []string{"a/2g.10gb@0#1", "a/1g.5gb@2#1", "a/1g.5gb@3#1", "a/1g.5gb@4#1", "a/1g.5gb@5#1", "a/1g.5gb@6#1", "b/1g.5gb@2#1"}
	if diff := cmp.Diff(want, refs); diff != "" {
		t.Errorf("instances (-want +got):\n%s", diff)
	}
	if !n.Instances[0].Pinned || n.Pinned(twoG) != 1 {
		t.Errorf("what is pinned is not: %+v", n.Instances[0])
	}
	if n.Reshapes[0].Undo || !n.Reshapes[1].Undo {
		t.Errorf("reshapes are %+v", n.Reshapes)
	}
	if !n.Has([]v1alpha1.InstanceRef{n.Instances[1].InstanceRef}) {
		t.Error("what has come back is to go")
	}
}
