package ebbtide

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	fwk "k8s.io/kube-scheduler/framework"
)

// profileHandle is the handle of a second profile.
type profileHandle struct {
	fwk.Handle
	name    string
	factory informers.SharedInformerFactory
}

func (h *profileHandle) ProfileName() string                                    { return h.name }
func (h *profileHandle) SharedInformerFactory() informers.SharedInformerFactory { return h.factory }

// All profiles of a scheduler share one plugin, which wakes the pods of all.
func TestFactorySharesOnePlugin(t *testing.T) {
	w := newWorld(t)
	f := &factory{made: w.Ebbtide, informers: informers.NewSharedInformerFactory(w.client, 0)}
	second := &profileHandle{name: "default-scheduler", factory: f.informers}

	w.online("a", 1, nil)
	other := w.online("b", 1, nil)
	other.Spec.SchedulerName = second.name
	w.put(other)
	pending := func() []string {
		var names []string
		for _, pod := range w.pending() {
			names = append(names, pod.Name)
		}
		slices.Sort(names)
		return names
	}
	if diff := cmp.Diff([]string{"a"}, pending()); diff != "" {
		t.Errorf("pods of one profile (-want +got):\n%s", diff)
	}
	got, err := f.plugin(t.Context(), &runtime.Unknown{Raw: []byte(`{"maxGrace":"60s"}`)}, second)
	if err != nil || got != fwk.Plugin(w.Ebbtide) {
		t.Fatalf("the second profile got %v, %v; want the first one's plugin", got, err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, pending()); diff != "" {
		t.Errorf("pods of both profiles (-want +got):\n%s", diff)
	}
}

func TestFactoryRefusesOtherArguments(t *testing.T) {
	w := newWorld(t)
	f := &factory{made: w.Ebbtide, informers: informers.NewSharedInformerFactory(w.client, 0)}
	second := &profileHandle{name: "default-scheduler", factory: f.informers}
	for args, want := range map[string]string{
		`{"maxGrace":"61s"}`: "profile default-scheduler: the arguments of Ebbtide differ from those in profile ebbtide",
		`{"maxGrace":"1"}`:   "maxGrace: Invalid value",
	} {
		if _, err := f.plugin(t.Context(), &runtime.Unknown{Raw: []byte(args)}, second); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", args, err, want)
		}
	}
}

// A preemption that stands behind the plugin gets pods without units only, and
// keeps what it promised them.
func TestPostFilterLeavesOtherPodsToOthers(t *testing.T) {
	w := newWorld(t)
	w.node("n", 8, 8)
	plain := w.pod("plain", "serving", 0, 0, nil)
	result, status := w.PostFilter(t.Context(), newState(), plain, statuses{})
	if result != nil || status.Code() != fwk.Unschedulable {
		t.Errorf("a pod without units got %+v, %v; want nothing, Unschedulable", result, status.Code())
	}
	for name, units := range map[string]int64{"full": 16, "beyond-quota": 65} {
		pod := w.online(name, units, nil)
		_, result, status := w.schedule(pod)
		if status.Code() != fwk.UnschedulableAndUnresolvable || result.NominatedNodeName != "" {
			t.Errorf("pod %s got %+v, %v; want no node, UnschedulableAndUnresolvable", name, result, status.Code())
		}
	}
}
