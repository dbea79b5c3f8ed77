package ebbtide

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// changingCard is an A100 on which four idle slices are made into one, and three others,
// pinned ones, are free.
func (w *world) changingCard(name, state string) *card {
	n := w.card(name, sevenths).pin("1g.5gb@4 1g.5gb@5 1g.5gb@6")
	n.reshape("r", state, idleFour, "4g.20gb@0")
	return n
}

// state has the agent be in another state of its reshape.
func (c *card) state(s v1alpha1.ReshapeStatus) {
	s.ID = c.gn.Spec.Reshapes[0].ID
	c.gn.Status.Reshapes = []v1alpha1.ReshapeStatus{s}
	c.tell()
}

// From the first destroy until a change is settled the kubelet may give a pod a slice that
// has gone, whichever was reserved for it.
func TestNodesWithUnsettledCards(t *testing.T) {
	const (
		free = "1g@6#1"
		kept = "the kubelet may hand out one that is gone"
	)
	none := v1alpha1.ReshapeStatus{}
	for name, tc := range map[string]struct {
		state v1alpha1.ReshapeStatus
		undo  bool
		asks  corev1.ResourceName
		set   func(w *world, n *card)
		want  string
	}{
		"wanted":                        {asks: oneG, want: kept},
		"wanted back at once":           {asks: oneG, undo: true, want: kept},
		"being made":                    {state: v1alpha1.ReshapeStatus{State: v1alpha1.ReshapeMaking}, asks: oneG, want: kept},
		"made":                          {state: v1alpha1.ReshapeStatus{State: v1alpha1.ReshapeMade, MakeMilliseconds: 1}, asks: oneG, want: free},
		"undone, and was made":          {state: v1alpha1.ReshapeStatus{State: v1alpha1.ReshapeUndoing, MakeMilliseconds: 1}, undo: true, asks: oneG, want: free},
		"undone, and was made: made":    {state: v1alpha1.ReshapeStatus{State: v1alpha1.ReshapeUndoing, MakeMilliseconds: 1}, undo: true, asks: fourG, want: kept},
		"undone, and was never made":    {state: v1alpha1.ReshapeStatus{State: v1alpha1.ReshapeUndoing}, undo: true, asks: oneG, want: kept},
		"there again":                   {state: v1alpha1.ReshapeStatus{State: v1alpha1.ReshapeUndone, UndoMilliseconds: 1}, undo: true, asks: oneG, want: free},
		"refused":                       {state: v1alpha1.ReshapeStatus{State: v1alpha1.ReshapeRefused}, asks: oneG, want: free},
		"stuck":                         {state: v1alpha1.ReshapeStatus{State: v1alpha1.ReshapeStuck}, asks: oneG, want: free},
		"other slices of another shape": {asks: fourG, want: "4g.20gb@0#1", set: func(_ *world, n *card) { n.another("4g.20gb@0") }},
		"of claims, which are exact": {asks: oneG, want: "", set: func(_ *world, n *card) {
			n.gn.Status.Allocation = v1alpha1.AllocationDynamicResources
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t).sliced()
			w.pinsIn("serving", 3)
			n := w.changingCard("n", "")
			if tc.asks == fourG && tc.set == nil {
				n.another("4g.20gb@0")
			}
			if tc.set != nil {
				tc.set(w, n)
			}
			n.gn.Spec.Reshapes[0].Undo = tc.undo
			if tc.state == none {
				n.tell()
			} else {
				n.state(tc.state)
			}
			got := w.bind(w.slices("p", "serving", v1alpha1.PriorityOnline, tc.asks, 1, nil))
			if tc.want == kept && strings.Contains(got, kept) {
				return
			}
			if got = placesOf(strings.ReplaceAll(got, "GPU-2", "GPU-n")); got != tc.want {
				t.Errorf("the pod gets %q, want %q", got, tc.want)
			}
		})
	}
}

// another puts a second GPU with that layout into the node.
func (c *card) another(layout string) {
	b := &c.gn.Status.Boards[0]
	gpu := v1alpha1.GPUStatus{UUID: "GPU-2", Board: b.Name, MIG: true, Healthy: true}
	for _, place := range places(b, layout) {
		place.Generation = 1
		name := "nvidia.com/mig-" + place.Name
		gpu.Instances = append(gpu.Instances, v1alpha1.MIGInstance{MIGPlacement: place, State: v1alpha1.InstanceReady, Resource: name})
		c.allocatable[corev1.ResourceName(name)]++
	}
	c.gn.Status.GPUs = append(c.gn.Status.GPUs, gpu)
}

// A pod goes where nothing changes; else it waits the seconds until the change is settled,
// and nothing is undone or taken back for it. Only a change that takes too long is undone.
func TestPodsWaitUntilChangesAreSettled(t *testing.T) {
	w := newWorld(t).sliced()
	w.pinsIn("serving", 3)
	n := w.changingCard("n", v1alpha1.ReshapeMaking)
	p := w.replicaOn("p", nil)
	result, status := w.waitFor(p)
	w.checkNominated(result, status, "n")
	w.checkUndone()

	w.activated = nil
	n.state(v1alpha1.ReshapeStatus{State: v1alpha1.ReshapeMade, MakeMilliseconds: 1})
	if diff := cmp.Diff([]string{"serving/p"}, w.activated); diff != "" {
		t.Errorf("activated when the change was settled (-want +got):\n%s", diff)
	}
	if got := placesOf(w.bind(p)); got != "1g@6#1" {
		t.Errorf("the pod gets %q", got)
	}

	w = newWorld(t).sliced()
	w.pinsIn("serving", 3)
	n = w.changingCard("n", v1alpha1.ReshapeMaking)
	q := w.replicaOn("q", nil)
	w.waitFor(q)
	w.time.Step(assumedUndo + time.Second)
	n.tell()
	_, result, status = w.schedule(q)
	w.checkNominated(result, status, "n")
	w.checkUndone("n/r")

	w = newWorld(t).sliced()
	w.changingCard("n", v1alpha1.ReshapeMaking)
	w.card("quiet", sevenths)
	if got := w.bind(w.replicaOn("s", nil)); !strings.HasPrefix(got, "GPU-quiet/") {
		t.Errorf("beside a quiet node the pod gets %q", got)
	}
}

// A change of a card begins while a pod waits in Permit for its gang: it was reserved a
// slice that stays, and the kubelet may take one that goes.
func TestCardsChangeBeforeThePodIsBound(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.card("n", sevenths)
	p, ctx, state := w.replicaOn("p", nil), t.Context(), newState()
	if _, s := w.PreFilter(ctx, state, p, w.infos()); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	if s := w.Reserve(ctx, state, p, "n"); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	n.reshape("r", "", idleFour, "4g.20gb@0")
	if s := w.PreBind(ctx, state, p, "n"); s.Code() != fwk.Unschedulable {
		t.Errorf("PreBind says %v %q", s.Code(), s.Message())
	}
	w.Unreserve(ctx, state, p, "n")
	w.time.Step(time.Second)
	n.state(v1alpha1.ReshapeStatus{State: v1alpha1.ReshapeMade, MakeMilliseconds: 1})
	if got := placesOf(w.bind(p)); got == "" || strings.Contains(got, " ") {
		t.Errorf("then it gets %q", got)
	}
}

// Where the quota is full too, the change is waited for, and nobody goes who would not have
// to without it: neither all for nothing nor one of a higher priority elsewhere.
func TestMakeWayBesideAChange(t *testing.T) {
	for name, tc := range map[string]struct {
		step time.Duration // since pods have been waiting for the change
		high bool
		want []string
		on   string
	}{
		"only there":                {want: []string{"low"}, on: "n"},
		"one of higher rank beside": {high: true, want: []string{"low"}, on: "n"},
		"it takes too long":         {step: assumedUndo + time.Second, high: true, want: []string{"high"}, on: "o"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t).sliced()
			w.pinsIn("serving", 3)
			n, m := w.changingCard("n", v1alpha1.ReshapeMaking), w.card("m", "1g.5gb@0")
			m.hold("1g.5gb@0", w.slices("low", "serving", 1, oneG, 1, m.node))
			m.gn.Status.GPUs[0].Healthy = false // nobody else can have it
			m.tell()
			nominal := int64(1)
			if tc.high {
				nominal++
				o := w.card("o", "1g.5gb@0")
				o.hold("1g.5gb@0", w.slices("high", "serving", 5, oneG, 1, o.node))
			}
			w.sliceQuota(nominal)
			w.undos.unsettled(reshapeKey{"n", "r"}, w.time.Now())
			w.time.Step(tc.step)
			n.tell()
			_, result, status := w.schedule(w.replicaOn("p", nil))
			w.checkNominated(result, status, tc.on)
			if diff := cmp.Diff(tc.want, w.gone()); diff != "" {
				t.Errorf("gone (-want +got):\n%s", diff)
			}
		})
	}
}

// sliceQuota promises serving so many slices.
func (w *world) sliceQuota(nominal int64) {
	obj, known, err := w.quotas.GetByKey("serving")
	if err != nil || !known {
		w.t.Fatal("serving has no quota: ", err)
	}
	q := obj.(*v1alpha1.TenantQuota).DeepCopy()
	for i := range q.Spec.Flavors {
		if q.Spec.Flavors[i].Resource == oneG {
			q.Spec.Flavors[i].Nominal = nominal
		}
	}
	must(w.t, w.quotas.Update(q))
}
