package ebbtide

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	schedulingv1alpha2 "k8s.io/api/scheduling/v1alpha2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	schedulinglisters "k8s.io/client-go/listers/scheduling/v1alpha2"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// groups makes the world one whose API server serves PodGroups, with these.
func (w *world) serveGroups(groups ...*schedulingv1alpha2.PodGroup) cache.Indexer {
	store := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for _, g := range groups {
		must(w.t, store.Add(g))
	}
	w.groups = schedulinglisters.NewPodGroupLister(store)
	return store
}

func gangGroup(name string, minCount int32) *schedulingv1alpha2.PodGroup {
	g := &schedulingv1alpha2.PodGroup{ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: name}}
	if minCount > 0 {
		g.Spec.SchedulingPolicy.Gang = &schedulingv1alpha2.GangSchedulingPolicy{MinCount: minCount}
	} else {
		g.Spec.SchedulingPolicy.Basic = &schedulingv1alpha2.BasicSchedulingPolicy{}
	}
	return g
}

// members makes pods of a group of serving.
func (w *world) members(group string, n int, units int64) []*corev1.Pod {
	var pods []*corev1.Pod
	for i := range n {
		p := w.online(fmt.Sprintf("%s-%d", group, i), units, nil)
		p.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: &group}
		w.put(p)
		pods = append(pods, p)
	}
	return pods
}

// tryPlace takes a pod through PreFilter, Reserve and Permit.
func (w *world) tryPlace(p *corev1.Pod) (*state, *fwk.Status) {
	w.t.Helper()
	s := newState()
	if _, status := w.PreFilter(w.t.Context(), s, p, nil); !status.IsSuccess() {
		return s, status
	}
	w.Reserve(w.t.Context(), s, p, "n")
	status, _ := w.Permit(w.t.Context(), s, p, "n")
	if status.IsWait() {
		w.permits[p.UID] = &permit{pod: p}
	}
	return s, status
}

func TestPodGroupWaitsForMinCount(t *testing.T) {
	w := newWorld(t)
	w.node("n", 8, 8)
	w.serveGroups(gangGroup("g", 3))
	pods := w.members("g", 4, 1)
	for i, p := range pods[:2] {
		if _, s := w.tryPlace(p); !s.IsWait() || s.Message() != fmt.Sprintf("%d of the 3 pods that PodGroup serving/g needs have a place", i+1) {
			t.Fatalf("pod %d: %v %q", i, s.Code(), s.Message())
		}
	}
	if diff := cmp.Diff([]string{"serving/g-1", "serving/g-2", "serving/g-2", "serving/g-3", "serving/g-3"}, w.activated); diff != "" {
		t.Errorf("siblings that were woken (-want +got):\n%s", diff)
	}
	if _, s := w.tryPlace(pods[2]); !s.IsSuccess() {
		t.Fatalf("the third pod waits: %v %q", s.Code(), s.Message())
	}
	if diff := cmp.Diff(map[string]string{"g-0": "allowed", "g-1": "allowed"}, w.verdicts()); diff != "" {
		t.Errorf("waiting pods (-want +got):\n%s", diff)
	}
	if _, s := w.tryPlace(pods[3]); !s.IsSuccess() {
		t.Errorf("a pod beyond minCount waits: %v %q", s.Code(), s.Message())
	}
}

// Why a pod of a group may not even begin stands on the pod.
func TestPodGroupRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		groups  []*schedulingv1alpha2.PodGroup
		members int
		units   int64
		want    string // empty: the pod waits in Permit
		alone   bool   // it goes without waiting
	}{
		"no such group":      {members: 2, units: 1, want: "PodGroup serving/g, which the pod names, does not exist"},
		"too few pods":       {groups: []*schedulingv1alpha2.PodGroup{gangGroup("g", 3)}, members: 2, units: 1, want: "2 of the 3 pods that PodGroup serving/g needs exist"},
		"too large":          {groups: []*schedulingv1alpha2.PodGroup{gangGroup("g", 3)}, members: 3, units: 22, want: "and the pods of PodGroup serving/g that start together ask for 66"},
		"as large as it can": {groups: []*schedulingv1alpha2.PodGroup{gangGroup("g", 2)}, members: 3, units: 32},
		"no gang":            {groups: []*schedulingv1alpha2.PodGroup{gangGroup("g", 0)}, members: 2, units: 1, alone: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.node("n", 64, 64)
			w.serveGroups(tc.groups...)
			s, status := w.tryPlace(w.members("g", tc.members, tc.units)[0])
			switch {
			case tc.alone && !status.IsSuccess(), tc.want == "" && !tc.alone && !status.IsWait():
				t.Errorf("got %v %q", status.Code(), status.Message())
			case tc.want == "":
				return
			case status.Code() != fwk.UnschedulableAndUnresolvable || !strings.Contains(status.Message(), tc.want):
				t.Errorf("got %v %q, want %q", status.Code(), status.Message(), tc.want)
			}
			// Nothing is taken back for a gang that cannot start.
			if _, ok := readCycle(s); ok && tc.want != "" {
				t.Error("PostFilter would look for units to take back")
			}
		})
	}
}

func TestPodGroupTimesOutWhole(t *testing.T) {
	w := newWorld(t)
	w.node("n", 8, 8)
	w.serveGroups(gangGroup("g", 3))
	pods := w.members("g", 3, 1)
	w.tryPlace(pods[0])
	w.tryPlace(pods[1])
	w.time.Step(w.args.GangTimeout)
	const reason = "not all 3 pods that PodGroup serving/g needs could be placed within 30s (attempt 1)"
	if diff := cmp.Diff(map[string]string{"g-0": reason, "g-1": reason}, w.verdicts()); diff != "" {
		t.Errorf("waiting pods (-want +got):\n%s", diff)
	}
}

// A pod that loses its place takes those along that wait for it; one that was only
// tried out by the upstream feature does not.
func TestPodGroupLosesAPod(t *testing.T) {
	for _, trying := range []bool{false, true} {
		w := newWorld(t)
		w.node("n", 8, 8)
		w.serveGroups(gangGroup("g", 3))
		pods := w.members("g", 3, 1)
		w.tryPlace(pods[0])
		s, _ := w.tryPlace(pods[1])
		s.trying = trying
		w.Unreserve(t.Context(), s, pods[1], "n")
		if broken := w.verdicts()["g-0"] != ""; broken == trying {
			t.Errorf("only tried: %v; the other pod was told %q", trying, w.verdicts()["g-0"])
		}
		if trying {
			if status, _ := w.Permit(t.Context(), s, pods[1], "n"); !status.IsSuccess() {
				t.Errorf("a pod that is only tried out waits: %q", status.Message())
			}
		}
	}
}

// Pods wake their siblings when the group or enough of its pods come to exist, and
// are turned away when the group goes.
func TestPodGroupEvents(t *testing.T) {
	w := newWorld(t)
	w.node("n", 8, 8)
	g := gangGroup("g", 3)
	store := w.serveGroups(g)
	pods := w.members("g", 2, 1)
	w.sync()
	w.wakeGroup(klog.Background(), pods[1])
	if len(w.activated) > 0 {
		t.Errorf("%v were woken with too few pods", w.activated)
	}
	pods = w.members("g", 3, 1)
	w.sync()
	w.wakeGroup(klog.Background(), pods[2])
	if diff := cmp.Diff([]string{"serving/g-0", "serving/g-1"}, w.activated); diff != "" {
		t.Errorf("woken by the last pod (-want +got):\n%s", diff)
	}
	w.activated = nil
	w.onPodGroup(klog.Background()).OnAdd(g, false)
	if diff := cmp.Diff([]string{"serving/g-0", "serving/g-1", "serving/g-2"}, w.activated); diff != "" {
		t.Errorf("woken by the group (-want +got):\n%s", diff)
	}
	w.tryPlace(pods[0])
	must(t, store.Delete(g))
	w.onPodGroup(klog.Background()).OnDelete(g)
	if got := w.verdicts()["g-0"]; got != "PodGroup serving/g was deleted (attempt 1)" {
		t.Errorf("the waiting pod was told %q", got)
	}
}

// After a restart the pods that are bound count, and the others start over. One that
// succeeded counts, one that failed does not.
func TestPodGroupAfterRestart(t *testing.T) {
	for phase, waits := range map[corev1.PodPhase]bool{corev1.PodRunning: false, corev1.PodSucceeded: false, corev1.PodFailed: true} {
		w := newWorld(t)
		n := w.node("n", 8, 8)
		w.serveGroups(gangGroup("g", 2))
		pods := w.members("g", 3, 1)
		pods[0].Spec.NodeName, pods[0].Status.Phase = n.node.Name, phase
		w.put(pods[0])
		if _, s := w.tryPlace(pods[1]); s.IsWait() != waits {
			t.Errorf("beside a pod that is %s: %v %q", phase, s.Code(), s.Message())
		}
	}
}

// Where PodGroups are not served, pods that name one are pods like any other.
func TestPodGroupsNotServed(t *testing.T) {
	w := newWorld(t)
	w.node("n", 8, 8)
	if _, s := w.tryPlace(w.members("g", 1, 1)[0]); !s.IsSuccess() {
		t.Errorf("got %v %q", s.Code(), s.Message())
	}
}

// api answers what the API server serves.
type api struct {
	list *metav1.APIResourceList
	err  error
}

func (a api) ServerResourcesForGroupVersion(string) (*metav1.APIResourceList, error) {
	return a.list, a.err
}
func (a api) ServerGroupsAndResources() ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	return nil, nil, errors.New("not asked")
}
func (a api) ServerPreferredResources() ([]*metav1.APIResourceList, error) {
	return nil, errors.New("not asked")
}
func (a api) ServerPreferredNamespacedResources() ([]*metav1.APIResourceList, error) {
	return nil, errors.New("not asked")
}

func TestPodGroupsServed(t *testing.T) {
	missing := apierrors.NewNotFound(schema.GroupResource{Group: "scheduling.k8s.io"}, "v1alpha2")
	for name, tc := range map[string]struct {
		api     api
		served  bool
		failing bool
	}{
		"no such version":  {api: api{err: missing}},
		"without the kind": {api: api{list: &metav1.APIResourceList{APIResources: []metav1.APIResource{{Name: "workloads"}}}}},
		"with the kind":    {api: api{list: &metav1.APIResourceList{APIResources: []metav1.APIResource{{Name: "podgroups"}}}}, served: true},
		"no answer":        {api: api{err: errors.New("refused")}, failing: true},
	} {
		served, err := podGroupsServed(tc.api)
		if served != tc.served || (err != nil) != tc.failing {
			t.Errorf("%s: %v, %v", name, served, err)
		}
	}
}

// A gang that broke up sets nothing free for its own pods.
func TestPodGroupBreakUpWakesOthersOnly(t *testing.T) {
	w := newWorld(t)
	w.node("n", 8, 8)
	w.serveGroups(gangGroup("g", 3))
	pods := w.members("g", 2, 1)
	w.sync()
	for _, tc := range []struct {
		pod  *corev1.Pod
		want fwk.QueueingHint
	}{{pods[1], fwk.QueueSkip}, {w.online("other", 1, nil), fwk.Queue}} {
		hint, err := w.afterPodDelete(klog.Background(), tc.pod, pods[0], nil)
		if err != nil || hint != tc.want {
			t.Errorf("pod %s: %v, %v; want %v", tc.pod.Name, hint, err, tc.want)
		}
	}
}
