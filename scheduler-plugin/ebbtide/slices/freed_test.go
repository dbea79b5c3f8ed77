package slices

import (
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

func TestMayHelp(t *testing.T) {
	holder := &v1alpha1.GPUHolder{Namespace: "x", Name: "a"}
	begin := func() *v1alpha1.GPUNode {
		gn := node(sevenths)
		gn.Status.GPUs[0].Instances[0].Holder = holder
		gn.Status.GPUs[0].Instances[3].Processes = nil
		gn.Spec.Pinned = []v1alpha1.PinnedSlices{{GPU: "a", Places: placesOf(a100(), "1g.5gb@6")}}
		return gn
	}
	where := reservedBy([]Pod{{Namespace: "x", Name: "a", Reserved: []v1alpha1.InstanceRef{{GPU: "a", Profile: "1g.5gb", Start: 1, Generation: 1}}},
		{Namespace: "x", Name: "b", Reserved: []v1alpha1.InstanceRef{{GPU: "a", Profile: "1g.5gb", Generation: 1}}}})
	for name, tc := range map[string]struct {
		set  func(gn *v1alpha1.GPUNode)
		want bool
	}{
		"nothing":          {func(*v1alpha1.GPUNode) {}, false},
		"time goes by":     {func(gn *v1alpha1.GPUNode) { gn.Status.Heartbeat = metav1.NowMicro() }, false},
		"one is taken":     {func(gn *v1alpha1.GPUNode) { gn.Status.GPUs[0].Instances[1].Holder = holder }, false},
		"another is taken": {func(gn *v1alpha1.GPUNode) { gn.Status.GPUs[0].Instances[2].Holder = holder }, true},
		"one is another's": {func(gn *v1alpha1.GPUNode) {
			gn.Status.GPUs[0].Instances[0].Holder = &v1alpha1.GPUHolder{Namespace: "x", Name: "b"}
		}, true},
		"one is let go":             {func(gn *v1alpha1.GPUNode) { gn.Status.GPUs[0].Instances[0].Holder = nil }, true},
		"one is made anew":          {func(gn *v1alpha1.GPUNode) { gn.Status.GPUs[0].Instances[1].Generation = 2 }, true},
		"one is lost":               {func(gn *v1alpha1.GPUNode) { gn.Status.GPUs[0].Instances = gn.Status.GPUs[0].Instances[1:] }, false},
		"pins move":                 {func(gn *v1alpha1.GPUNode) { gn.Spec.Pinned[0].Places[0].Start = 5 }, true},
		"pins go":                   {func(gn *v1alpha1.GPUNode) { gn.Spec.Pinned = nil }, true},
		"a reshape is wanted":       {func(gn *v1alpha1.GPUNode) { gn.Spec.Reshapes = []v1alpha1.Reshape{{ID: "r"}} }, true},
		"others allocate":           {func(gn *v1alpha1.GPUNode) { gn.Status.Allocation = v1alpha1.AllocationDynamicResources }, true},
		"nobody is on it after all": {func(gn *v1alpha1.GPUNode) { gn.Status.GPUs[0].Instances[3].Processes = new(int32) }, true},
		"nobody knows who is on it": {func(gn *v1alpha1.GPUNode) { gn.Status.GPUs[0].Instances[1].Processes = nil }, false},
		"a process has not ended":   {func(gn *v1alpha1.GPUNode) { gn.Status.GPUs[0].Instances[0] = busy(gn.Status.GPUs[0].Instances[0]) }, false},
		"the GPU is no longer well": {func(gn *v1alpha1.GPUNode) { gn.Status.GPUs[0].Healthy = false }, false},
	} {
		t.Run(name, func(t *testing.T) {
			var boards Boards
			before, gn := boards.Read(begin()), begin()
			tc.set(gn)
			if got := boards.Read(gn).MayHelp(before, where); got != tc.want {
				t.Errorf("may help: %v", got)
			}
		})
	}
	var boards Boards
	if !boards.Read(begin()).MayHelp(nil, where) {
		t.Error("a node that was not known does not help")
	}
}

func busy(in v1alpha1.MIGInstance) v1alpha1.MIGInstance {
	one := int32(1)
	in.Holder, in.Processes = nil, &one
	return in
}

// A slice whose holder is not there any more is open as soon as its GPU is well again.
func TestMayHelpWhenAGPUIsWell(t *testing.T) {
	gn := node("1g.5gb@2")
	gn.Status.GPUs[0].Instances[0].Holder = &v1alpha1.GPUHolder{Namespace: "x", Name: "a"}
	gn.Status.GPUs[0].Healthy = false
	var boards Boards
	before := boards.Read(gn)
	gn.Status.GPUs[0].Healthy = true
	after := boards.Read(gn)
	if !after.MayHelp(before, reservedBy(nil)) {
		t.Error("nobody is woken")
	}
	where := reservedBy([]Pod{{Namespace: "x", Name: "a", Reserved: []v1alpha1.InstanceRef{after.Instances[0].InstanceRef}}})
	if after.MayHelp(before, where) {
		t.Error("somebody is woken for a slice that its holder was reserved")
	}
}

// Whatever a node tells next: a pod that finds slices then, and found none before, is woken.
// The pods that stand there are the same; what is known of their slices may change.
func TestWhoFindsSlicesIsWoken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gn := rapid.Custom(drawNode).Draw(t, "node")
		pods := rapid.Custom(drawPods).Draw(t, "pods")
		who := rapid.SampledFrom(everyone()).Draw(t, "who")
		var boards Boards
		before := boards.Read(gn)
		next := gn.DeepCopy()
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			change(t, next, pods)
		}
		after := boards.Read(next)
		if !finds(before, pods, who) && finds(after, pods, who) && !after.MayHelp(before, reservedBy(pods)) {
			t.Fatalf("%+v finds none of\n%+v\nand one of\n%+v\nand is not woken", who, before.Instances, after.Instances)
		}
	})
}

// reservedBy returns what the pods were reserved, by who they are.
func reservedBy(pods []Pod) func(v1alpha1.GPUHolder) []v1alpha1.InstanceRef {
	return func(h v1alpha1.GPUHolder) []v1alpha1.InstanceRef {
		for i := range pods {
			if pods[i].Namespace == h.Namespace && pods[i].Name == h.Name {
				return pods[i].Reserved
			}
		}
		return nil
	}
}

// finds reports whether one more pod finds a slice on the node beside those.
func finds(n *Node, pods []Pod, who *Who) bool {
	room, rest := n.Room(pods)
	for i := range pods {
		room.Guess(pods[i].UID, &Who{Online: true}, rest[i])
	}
	_, why := room.Find("p", who, []Ask{{oneG, 1}})
	return why == ""
}

func everyone() []*Who {
	return []*Who{{Online: true, Pins: true}, {Online: true}, {}, {Loan: &Loan{}}, {Loan: &Loan{JobUID: "job", Lent: []Lending{{"serving/chat", "a100-4g"}}}}}
}

// drawNode has three slices of one and, made of two others or being made, or for no change,
// one or two more.
func drawNode(t *rapid.T) *v1alpha1.GPUNode {
	gn := node("1g.5gb@2 1g.5gb@3 1g.5gb@4 1g.5gb@0")
	if state := rapid.SampledFrom([]string{"none", "", v1alpha1.ReshapeMaking, v1alpha1.ReshapeMade, v1alpha1.ReshapeUndoing}).Draw(t, "reshape"); state != "none" {
		reshape(gn, "r", state, "1g.5gb@2", "1g.5gb@0")
	}
	for range rapid.IntRange(0, 4).Draw(t, "history") {
		change(t, gn, nil)
	}
	return gn
}

// drawPods are pods of which it is known what they were reserved, or not.
func drawPods(t *rapid.T) (pods []Pod) {
	for i := range rapid.IntRange(0, 3).Draw(t, "n") {
		p := Pod{UID: types.UID(fmt.Sprint("pod-", i)), Namespace: "x", Name: fmt.Sprint("pod-", i), Asks: []Ask{{oneG, 1}}}
		if start := rapid.IntRange(-1, 4).Draw(t, "reserved"); start >= 0 {
			p.Reserved = []v1alpha1.InstanceRef{{GPU: "a", Profile: "1g.5gb", Start: int32(start), Generation: 1}}
		}
		pods = append(pods, p)
	}
	return pods
}

func stands(h v1alpha1.GPUHolder, pods []Pod) bool {
	return slices.ContainsFunc(pods, func(p Pod) bool { return p.Namespace == h.Namespace && p.Name == h.Name })
}

// change changes one thing of what the node tells, or of what is wanted of it.
func change(t *rapid.T, gn *v1alpha1.GPUNode, pods []Pod) {
	gpu := &gn.Status.GPUs[0]
	if len(gpu.Instances) == 0 {
		return
	}
	at := rapid.IntRange(0, len(gpu.Instances)-1).Draw(t, "at")
	in := &gpu.Instances[at]
	switch rapid.IntRange(0, 9).Draw(t, "what") {
	case 0, 1:
		left := []*int32{nil, new(int32)}
		if in.Holder == nil || !stands(*in.Holder, pods) { // a pod that stands there keeps its slice while its processes run
			left = append(left, ptr.To[int32](1))
		}
		in.Holder, in.Processes = nil, rapid.SampledFrom(left).Draw(t, "processes")
	case 2, 3:
		holder := v1alpha1.GPUHolder{Namespace: "x", Name: fmt.Sprint("pod-", rapid.IntRange(0, 3).Draw(t, "holder"))}
		for i := range gpu.Instances { // a pod asks for one slice, and holds no two
			if h := gpu.Instances[i].Holder; h != nil && *h == holder {
				gpu.Instances[i].Holder = nil
			}
		}
		in.Holder = &holder
	case 4:
		in.State = rapid.SampledFrom([]string{v1alpha1.InstanceReady, v1alpha1.InstanceForeign}).Draw(t, "state")
	case 5:
		gpu.Healthy = !gpu.Healthy
	case 6:
		in.Generation++
	case 7:
		gpu.Instances = slices.Delete(gpu.Instances, at, at+1)
	case 8:
		gn.Spec.Pinned = nil
		for _, start := range rapid.SliceOfNDistinct(rapid.IntRange(0, 4), 0, 2, rapid.ID).Draw(t, "pinned") {
			gn.Spec.Pinned = append(gn.Spec.Pinned, v1alpha1.PinnedSlices{GPU: "a", Places: placesOf(a100(), fmt.Sprint("1g.5gb@", start))})
		}
	case 9:
		if len(gn.Status.Reshapes) > 0 {
			gn.Spec.Reshapes[0].Undo = !gn.Spec.Reshapes[0].Undo
		} else if len(gn.Spec.Reshapes) > 0 {
			gn.Spec.Reshapes = nil
		}
	}
}
