package gpunodes

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
)

// Which places are kept of an A100 in seven, of which three are to be.
func TestPins(t *testing.T) {
	holds := func(starts ...int32) []v1alpha1.MIGInstance {
		all := sevenOnes()
		for _, start := range starts {
			all[start] = held(all[start], "chat")
		}
		return all
	}
	lends := func(all []v1alpha1.MIGInstance, starts ...int32) []v1alpha1.MIGInstance {
		for _, start := range starts {
			all[start] = held(all[start], "tune")
		}
		return all
	}
	pinned := func(starts ...int32) func(*v1alpha1.GPUNode) {
		return func(n *v1alpha1.GPUNode) {
			var places []v1alpha1.MIGPlacement
			for _, start := range starts {
				places = append(places, v1alpha1.MIGPlacement{Profile: int32(oneG), Name: "1g.5gb", Start: start})
			}
			n.Spec.Pinned = []v1alpha1.PinnedSlices{{GPU: "GPU-a", Places: places}}
		}
	}
	foreign := sevenOnes()
	foreign[5].State = v1alpha1.InstanceForeign
	unknown := sevenOnes()
	unknown[5].Processes = nil
	tests := []struct {
		name      string
		instances []v1alpha1.MIGInstance
		change    func(*v1alpha1.GPUNode)
		want      []int
		bad       int
	}{
		{"nobody is there", sevenOnes(), nil, []int{4, 5, 6}, 0},
		{"the services' pods are there", holds(4, 5, 6), nil, []int{4, 5, 6}, 0},
		{"they are elsewhere", holds(0, 3, 5), nil, []int{0, 3, 5}, 1},
		{"some are elsewhere", holds(0), nil, []int{0, 2, 3}, 1},
		{"they are everywhere", holds(0, 1, 2, 3, 4, 5, 6), nil, []int{4, 5, 6}, 0},
		{"they have moved", holds(4, 5, 6), pinned(0, 3, 5), []int{4, 5, 6}, 0},
		{"loans are there", lends(sevenOnes(), 4, 5), nil, nil, 1},
		{"one is somebody else's", foreign, nil, nil, 1},
		{"of one it is not known", unknown, pinned(4, 5, 6), []int{4, 5, 6}, 0},
		{"all are lost", nil, pinned(4, 5, 6), []int{4, 5, 6}, 0},
		{"all are lost but one", sevenOnes()[5:6], pinned(4, 5, 6), []int{4, 5, 6}, 0},
		{"there never were any", nil, nil, nil, 0},
		{"the GPU is made into a larger one", []v1alpha1.MIGInstance{instance(fourG, 0), instance(oneG, 4), instance(oneG, 5), instance(oneG, 6)},
			pinned(4, 5, 6), []int{4, 5, 6}, 0},
		{"what was kept is in the way", []v1alpha1.MIGInstance{instance(fourG, 0), instance(oneG, 5)}, pinned(1, 2, 5), []int{5}, 0},
		{"nothing is heard", sevenOnes(), func(n *v1alpha1.GPUNode) {
			pinned(1, 2, 3)(n)
			n.Status.Heartbeat = metav1.NewMicroTime(now.Add(-time.Hour))
		}, []int{1, 2, 3}, 1},
		{"MIG mode is off", sevenOnes(), func(n *v1alpha1.GPUNode) {
			pinned(4, 5, 6)(n)
			n.Status.GPUs[0].MIG = false
		}, []int{4, 5, 6}, 0},
		{"some are about to go", sevenOnes(), func(n *v1alpha1.GPUNode) {
			r := reshape("r1")
			r.Destroy = []v1alpha1.MIGPlacement{{Profile: 0, Start: 4}, {Profile: 0, Start: 5}}
			n.Spec.Reshapes = []v1alpha1.Reshape{r}
		}, nil, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var changes []func(*v1alpha1.GPUNode)
			if test.change != nil {
				changes = append(changes, test.change)
			}
			n := gpuNode(t, test.instances, changes...)
			s := look(t, n, Holdings{pod("chat"): {Owner: "serving/chat"}, pod("tune"): {Owner: "research/tune-1", Lent: true}}, 3)
			if test.want != nil || len(test.instances) == 0 {
				if diff := cmp.Diff(test.want, kept(s)); diff != "" {
					t.Errorf("kept (-want +got):\n%s", diff)
				}
			} else if got := kept(s); len(got) != 3 {
				t.Errorf("kept are %v, want three", got)
			}
			for _, in := range s.Cards {
				checkPinned(t, in.Instances, kept(s), test.name)
			}
			if s.Pins[mig1g].Bad != test.bad {
				t.Errorf("%+v, want %d bad", s.Pins[mig1g], test.bad)
			}
		})
	}
}

// checkPinned: what is kept is pinned, unless that is nobody's to say, and nothing else is.
func checkPinned(t *testing.T, instances []mig.Instance, kept []int, name string) {
	t.Helper()
	for _, in := range instances {
		is := false
		for _, start := range kept {
			is = is || in.Profile == oneG && in.Start == start
		}
		if is != (in.Use == mig.Pinned) && in.Use != mig.Unknown {
			t.Errorf("%s: the instance at %d is %s", name, in.Start, in.Use)
		}
	}
}

// Loans keep theirs, and the places of those are not what is pinned.
func TestPinsAvoidLoans(t *testing.T) {
	all := sevenOnes()
	all[4], all[5] = held(all[4], "tune"), held(all[5], "tune")
	s := look(t, gpuNode(t, all), Holdings{pod("tune"): {Owner: "research/tune-1", Lent: true}}, 3)
	for _, start := range kept(s) {
		if start == 4 || start == 5 {
			t.Errorf("kept are %v, of which a loan has some", kept(s))
		}
	}
}

func TestKeeps(t *testing.T) {
	_, list := read(t, gpuNode(t, sevenOnes()))
	s := list[0].Look(nil, map[string]int{mig1g: 3}, &Boards{})
	if list[0].Keeps(s.Pinned) || !list[0].Keeps(nil) {
		t.Error("the spec keeps nothing yet")
	}
	_, list = read(t, gpuNode(t, sevenOnes(), func(n *v1alpha1.GPUNode) { n.Spec.Pinned = s.Pinned }))
	if !list[0].Keeps(s.Pinned) || list[0].Keeps(nil) {
		t.Error("the spec keeps what it should")
	}
}
