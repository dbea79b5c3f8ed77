package slices

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/boards"
)

const (
	oneG  = "nvidia.com/mig-1g.5gb"
	twoG  = "nvidia.com/mig-2g.10gb"
	fourG = "nvidia.com/mig-4g.20gb"
)

// a100 is the geometry of the tests' cards.
func a100() mig.Geometry {
	for _, g := range mig.Boards() {
		if _, is := g.ProfileOf(oneG); is && g.Slots == 8 {
			return g
		}
	}
	panic("there is no board with eight slots and 1g.5gb")
}

func placeAt(g mig.Geometry, text string) v1alpha1.MIGPlacement {
	name, start, _ := strings.Cut(text, "@")
	i := slices.IndexFunc(g.Profiles, func(p mig.Profile) bool { return p.Name == name })
	return v1alpha1.MIGPlacement{Profile: int32(g.Profiles[i].ID), Start: int32(start[0] - '0')}
}

func placesOf(g mig.Geometry, list string) (out []v1alpha1.MIGPlacement) {
	for _, text := range strings.Fields(list) {
		out = append(out, placeAt(g, text))
	}
	return out
}

// node has GPUs a, b, … cut as given.
func node(layouts ...string) *v1alpha1.GPUNode {
	g := a100()
	gn := &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: v1alpha1.GPUNodeStatus{Boards: []v1alpha1.MIGBoard{boards.Said(&g)}}}
	for i, layout := range layouts {
		gpu := v1alpha1.GPUStatus{UUID: string(rune('a' + i)), Board: g.Board, Healthy: true}
		for _, at := range placesOf(g, layout) {
			at.Generation = 1
			gpu.Instances = append(gpu.Instances, v1alpha1.MIGInstance{MIGPlacement: at, State: v1alpha1.InstanceReady, Processes: new(int32)})
		}
		gn.Status.GPUs = append(gn.Status.GPUs, gpu)
	}
	return gn
}

func reshape(gn *v1alpha1.GPUNode, id, state, destroy, create string) *v1alpha1.Reshape {
	g := a100()
	gn.Spec.Reshapes = append(gn.Spec.Reshapes, v1alpha1.Reshape{
		ID: id, GPU: "a", Lender: "serving/chat", From: "a100-1g", To: "a100-4g", JobUID: "job",
		Destroy: placesOf(g, destroy), Create: placesOf(g, create),
	})
	if state != "" {
		gn.Status.Reshapes = append(gn.Status.Reshapes, v1alpha1.ReshapeStatus{ID: id, State: state, UndoMilliseconds: 2500})
	}
	return &gn.Spec.Reshapes[len(gn.Spec.Reshapes)-1]
}

const sevenths = "1g.5gb@0 1g.5gb@1 1g.5gb@2 1g.5gb@3 1g.5gb@4 1g.5gb@5 1g.5gb@6"

// find asks for slices on the node as it is without pods.
func find(n *Node, who *Who, resource corev1.ResourceName, units int64) string {
	room, _ := n.Room(nil)
	refs, why := room.Find("p", who, []Ask{{resource, units}})
	if why != "" {
		return why
	}
	return v1alpha1.FormatInstances(refs)
}

func TestFindLosesLeast(t *testing.T) {
	for name, tc := range map[string]struct {
		layouts  []string
		foreign  string // on the second card
		who      Who
		resource corev1.ResourceName
		units    int64
		want     string
	}{
		"the end that fits least":            {layouts: []string{sevenths}, resource: oneG, units: 1, want: "a/1g.5gb@6#1"},
		"a card that is broken into already": {layouts: []string{sevenths, "4g.20gb@0 1g.5gb@6"}, foreign: "4g.20gb@0", resource: oneG, units: 1, want: "b/1g.5gb@6#1"},
		"of equals the highest if online":    {layouts: []string{"1g.5gb@0 1g.5gb@1"}, who: Who{Online: true}, resource: oneG, units: 1, want: "a/1g.5gb@1#1"},
		"of equals the lowest else":          {layouts: []string{"1g.5gb@0 1g.5gb@1"}, resource: oneG, units: 1, want: "a/1g.5gb@0#1"},
		"of equal cards the first":           {layouts: []string{"1g.5gb@0", "1g.5gb@0"}, resource: oneG, units: 1, want: "a/1g.5gb@0#1"},
		"two on one card rather than two":    {layouts: []string{sevenths, sevenths}, resource: oneG, units: 2, want: "a/1g.5gb@6#1,a/1g.5gb@4#1"},
		"a larger one":                       {layouts: []string{"2g.10gb@0 2g.10gb@2 2g.10gb@4"}, resource: twoG, units: 1, want: "a/2g.10gb@4#1"},
		"there is none":                      {layouts: []string{sevenths}, resource: fourG, units: 1, want: "0 slices of nvidia.com/mig-4g.20gb are on the node, and the pod asks for 1"},
		"there are too few":                  {layouts: []string{"1g.5gb@0 1g.5gb@1"}, resource: oneG, units: 3, want: "2 slices of nvidia.com/mig-1g.5gb are on the node, and the pod asks for 3"},
	} {
		t.Run(name, func(t *testing.T) {
			gn := node(tc.layouts...)
			if tc.foreign != "" {
				in := gn.Status.GPUs[1].Instances
				in[slices.IndexFunc(in, func(in v1alpha1.MIGInstance) bool {
					return in.MIGPlacement.Profile == placeAt(a100(), tc.foreign).Profile
				})].State = v1alpha1.InstanceForeign
			}
			var boards Boards
			if got := find(boards.Read(gn), &tc.who, tc.resource, tc.units); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestMadeSlices(t *testing.T) {
	mine := &Loan{JobUID: "job", Lent: []Lending{{"serving/chat", "a100-4g"}}}
	for name, tc := range map[string]struct {
		state string
		undo  bool
		loan  *Loan
		want  bool
	}{
		"for the job that they were made for": {v1alpha1.ReshapeMade, false, mine, true},
		"for another of the same lender":      {v1alpha1.ReshapeMade, false, &Loan{JobUID: "other", Lent: mine.Lent}, true},
		"not of another lender":               {v1alpha1.ReshapeMade, false, &Loan{JobUID: "job", Lent: []Lending{{"elsewhere/x", "a100-4g"}}}, false},
		"not in another flavor":               {v1alpha1.ReshapeMade, false, &Loan{JobUID: "job", Lent: []Lending{{"serving/chat", "h100-4g"}}}, false},
		"not of one's own quota":              {v1alpha1.ReshapeMade, false, &Loan{JobUID: "job"}, false},
		"not for pods on no loan":             {v1alpha1.ReshapeMade, false, nil, false},
		"not before all is made":              {v1alpha1.ReshapeMaking, false, mine, false},
		"not when they are to go":             {v1alpha1.ReshapeMade, true, mine, false},
		"not when they go":                    {v1alpha1.ReshapeUndoing, false, mine, false},
		"not when they are stuck":             {v1alpha1.ReshapeStuck, false, mine, false},
		"not when nobody said anything":       {"", false, mine, false},
	} {
		t.Run(name, func(t *testing.T) {
			gn := node("4g.20gb@0 1g.5gb@4")
			reshape(gn, "r", tc.state, "1g.5gb@0 1g.5gb@1 1g.5gb@2 1g.5gb@3", "4g.20gb@0").Undo = tc.undo
			var boards Boards
			got := find(boards.Read(gn), &Who{Loan: tc.loan, Online: tc.loan == nil}, fourG, 1)
			if (got == "a/4g.20gb@0#1") != tc.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

// What was made for a job goes to it first, whatever else its lender made there.
func TestMadeForTheJob(t *testing.T) {
	gn := node("2g.10gb@0 2g.10gb@2")
	reshape(gn, "r", v1alpha1.ReshapeMade, "1g.5gb@0 1g.5gb@1", "2g.10gb@0").JobUID = "other"
	reshape(gn, "s", v1alpha1.ReshapeMade, "1g.5gb@2 1g.5gb@3", "2g.10gb@2")
	var boards Boards
	for job, want := range map[types.UID]string{"job": "a/2g.10gb@2#1", "other": "a/2g.10gb@0#1"} {
		who := &Who{Loan: &Loan{JobUID: job, Lent: []Lending{{"serving/chat", "a100-4g"}}}}
		if got := find(boards.Read(gn), who, twoG, 1); got != want {
			t.Errorf("job %s gets %s, want %s", job, got, want)
		}
	}
}

func TestRoom(t *testing.T) {
	gn := node(sevenths)
	gn.Status.GPUs[0].Instances[3].Holder = &v1alpha1.GPUHolder{Namespace: "x", Name: "held"}
	gn.Status.GPUs[0].Instances[2].Holder = &v1alpha1.GPUHolder{Namespace: "x", Name: "twice"}
	gn.Status.GPUs[0].Instances[1].Holder = &v1alpha1.GPUHolder{Namespace: "x", Name: "gone"}
	var boards Boards
	n := boards.Read(gn)
	ref := func(i int) []v1alpha1.InstanceRef { return []v1alpha1.InstanceRef{n.Instances[i].InstanceRef} }
	pods := []Pod{
		{UID: "late", Name: "late", Namespace: "x", Asks: []Ask{{oneG, 1}}, Reserved: ref(3)}, // another has it
		{UID: "held", Name: "held", Namespace: "x", Asks: []Ask{{oneG, 1}}, Reserved: ref(5)},
		{UID: "twice", Name: "twice", Namespace: "x", Asks: []Ask{{oneG, 2}}, Reserved: ref(6)},
		{UID: "early", Name: "early", Namespace: "x", Asks: []Ask{{oneG, 1}}, Reserved: ref(1)}, // whose holder is gone
	}
	room, rest := n.Room(pods)
	if diff := cmp.Diff([]types.UID{"", "early", "twice", "held", "", "", "twice"}, room.by); diff != "" {
		t.Errorf("who has what (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][]Ask{{{oneG, 1}}, nil, nil, nil}, rest); diff != "" {
		t.Errorf("what nobody knows (-want +got):\n%s", diff)
	}
	room.Guess("late", &Who{Online: true}, rest[0])
	if room.by[0] != "late" { // beside the one, nothing larger fits any more
		t.Errorf("guessed: %v", room.by)
	}
}

func TestUndone(t *testing.T) {
	gn := node("4g.20gb@0 1g.5gb@4 1g.5gb@5 1g.5gb@6")
	reshape(gn, "r", v1alpha1.ReshapeMade, "1g.5gb@0 1g.5gb@1 1g.5gb@2 1g.5gb@3", "4g.20gb@0")
	reshape(gn, "s", v1alpha1.ReshapeMaking, "1g.5gb@4 1g.5gb@5", "2g.10gb@4").UndoSeconds = 7
	var boards Boards
	n := boards.Read(gn)
	if n.Reshapes[0].UndoTakes != 2500*time.Millisecond || n.Reshapes[1].UndoTakes != 7*time.Second {
		t.Errorf("undoing takes %s and %s", n.Reshapes[0].UndoTakes, n.Reshapes[1].UndoTakes)
	}
	first := func(id string) bool { return id == "r" }
	all := func(string) bool { return true }
	after := n.Undone(first)
	// The places come back as those of no generation: the agent will count.
	if got, want := find(after, &Who{Online: true}, oneG, 5), "a/1g.5gb@6#1,a/1g.5gb@3#0,a/1g.5gb@2#0,a/1g.5gb@1#0,a/1g.5gb@0#0"; got != want {
		t.Errorf("after one: %s, want %s", got, want)
	}
	if got := find(n.Undone(all), &Who{Online: true}, oneG, 7); strings.Contains(got, "asks for") {
		t.Errorf("after both: %s", got)
	}
	if got := find(n, &Who{Online: true}, oneG, 2); !strings.HasSuffix(got, "asks for 2: 2 being made into others") {
		t.Errorf("before: %s", got)
	}
	for _, tc := range []struct {
		resource corev1.ResourceName
		now      int64
		gone     func(string) bool
		want     int64
	}{
		{oneG, 3, first, 7},  // as the kubelet says
		{oneG, 1, first, 5},  // it has not seen all of them yet
		{oneG, 7, first, 7},  // it has not seen any go yet
		{oneG, 3, all, 7},    // those that are still there count once
		{fourG, 1, first, 0}, // what was made goes
		{twoG, 0, all, 0},
	} {
		if got := n.Allocatable(tc.resource, tc.now, tc.gone); got != tc.want {
			t.Errorf("of %d %s are allocatable then: %d, want %d", tc.now, tc.resource, got, tc.want)
		}
	}
	if n.Count(oneG) != 3 || n.Count(fourG) != 1 {
		t.Errorf("the layout has %d and %d", n.Count(oneG), n.Count(fourG))
	}
	if diff := cmp.Diff([]corev1.ResourceName{oneG, twoG, fourG}, n.Resources()); diff != "" {
		t.Errorf("resources (-want +got):\n%s", diff)
	}
}

// A change is off the list as soon as the broker sees its end, or both are seen at once, and
// the kubelet may be behind: the node settles for a moment longer.
func TestSettlesForAMomentLonger(t *testing.T) {
	now := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	gn := node(sevenths)
	gn.Status.GPUs[0].MIG = true
	gn.Status.Heartbeat = metav1.NewMicroTime(now)
	gn.Spec.Reshapes = []v1alpha1.Reshape{{ID: "r", GPU: gn.Status.GPUs[0].UUID}}
	gn.Status.Reshapes = []v1alpha1.ReshapeStatus{{ID: "r", State: v1alpha1.ReshapeMaking}}
	var boards Boards
	first := boards.Read(gn)
	first.Hear(nil, now)
	if !first.Settling(now.Add(time.Hour)) {
		t.Error("it does not settle")
	}
	gn.Spec.Reshapes = nil
	now = now.Add(time.Minute)
	next := boards.Read(gn)
	next.Hear(first, now)
	again := boards.Read(gn)
	again.Hear(next, now.Add(time.Second))
	if !again.Settling(now.Add(v1alpha1.JustSettled-1)) || again.Settling(now.Add(v1alpha1.JustSettled)) {
		t.Error("it does not settle for just that long")
	}
	other := boards.Read(gn)
	other.uid = "another"
	if other.Hear(next, now); other.Settling(now) {
		t.Error("another GPUNode of that name is taken for the same")
	}
}

func TestSilentAndUnknown(t *testing.T) {
	var none *Node
	now := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	if none.Fresh(now) || none.Pinned(oneG) != 0 {
		t.Error("a node without an agent tells something")
	}
	gn := node(sevenths)
	gn.Status.Heartbeat = metav1.NewMicroTime(now.Add(-v1alpha1.SilentAfter))
	var boards Boards
	first := boards.Read(gn)
	if first.Fresh(now) {
		t.Error("a node tells something that nobody has heard")
	}
	if first.Hear(nil, now); !first.Fresh(now) || first.Fresh(now.Add(time.Millisecond)) {
		t.Error("two minutes are not the limit")
	}
	// The node's clock is slow, and its agent is alive: what counts is that it goes on.
	gn.Status.Heartbeat = metav1.NewMicroTime(gn.Status.Heartbeat.Add(time.Second))
	next, other := boards.Read(gn), boards.Read(gn)
	next.Hear(first, now.Add(time.Minute))
	if !next.Fresh(now.Add(3*time.Minute)) || next.Fresh(now.Add(3*time.Minute+time.Millisecond)) {
		t.Error("it is not by our clock that the agent was heard")
	}
	other.uid = "another"
	other.Hear(first, now.Add(time.Minute))
	if other.Fresh(now.Add(3 * time.Minute)) {
		t.Error("another GPUNode of that name is taken for the same")
	}
	// A board that nobody described: all places are worth the same.
	gn.Status.Boards = nil
	for i := range gn.Status.GPUs[0].Instances {
		gn.Status.GPUs[0].Instances[i].Name = "1g.5gb"
	}
	if got := find(boards.Read(gn), &Who{Online: true}, oneG, 2); got != "a/1g.5gb@6#1,a/1g.5gb@5#1" {
		t.Errorf("of a board that is not known: %s", got)
	}
}

// Whatever stands on a node and in whatever order: nobody is given what another has,
// loans nothing pinned, and only loans of the lender what was made.
func TestNobodyGetsWhatAnotherHas(t *testing.T) {
	g := a100()
	rapid.Check(t, func(t *rapid.T) {
		gn := node(sevenths, "4g.20gb@0 1g.5gb@4 1g.5gb@5 1g.5gb@6")
		reshape(gn, "r", v1alpha1.ReshapeMade, "1g.5gb@0", "4g.20gb@0").GPU = "b"
		for _, start := range rapid.SliceOfNDistinct(rapid.IntRange(0, 6), 0, 4, rapid.ID).Draw(t, "pinned") {
			gn.Spec.Pinned = append(gn.Spec.Pinned, v1alpha1.PinnedSlices{GPU: "a", Places: placesOf(g, fmt.Sprint("1g.5gb@", start))})
		}
		var boards Boards
		n := boards.Read(gn)
		var pods []Pod
		for i := range rapid.IntRange(0, 12).Draw(t, "pods") {
			ask := Ask{rapid.SampledFrom([]corev1.ResourceName{oneG, fourG}).Draw(t, "resource"), rapid.Int64Range(1, 2).Draw(t, "units")}
			who := rapid.SampledFrom([]*Who{
				{Online: true, Pins: true}, {Online: true}, {}, {Loan: &Loan{}}, {Loan: &Loan{Lent: []Lending{{"serving/chat", "a100-4g"}}}},
			}).Draw(t, "who")
			room, rest := n.Room(pods)
			if slices.ContainsFunc(rest, func(r []Ask) bool { return len(r) > 0 }) {
				t.Fatalf("what was found is not there any more: %v", rest)
			}
			uid := types.UID(fmt.Sprint("pod-", i))
			refs, why := room.Find(uid, who, []Ask{ask})
			if (why == "") != (int64(len(refs)) == ask.Units) {
				t.Fatalf("%d of %d found, and %q", len(refs), ask.Units, why)
			}
			for _, ref := range refs {
				at := slices.IndexFunc(n.Instances, func(in Instance) bool { return in.InstanceRef == ref })
				in := n.Instances[at]
				taken := slices.ContainsFunc(pods, func(p Pod) bool { return slices.Contains(p.Reserved, ref) })
				made := in.made >= 0 && (who.Loan == nil || len(who.Loan.Lent) == 0)
				if taken || made || in.Pinned && who.Loan != nil || in.Resource != ask.Resource {
					t.Fatalf("%+v was given %+v", who, in)
				}
			}
			if why == "" {
				pods = append(pods, Pod{UID: uid, Name: string(uid), Asks: []Ask{ask}, Reserved: refs})
			}
		}
	})
}
