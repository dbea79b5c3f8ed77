package dra

import (
	"context"
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/device"
)

// fakeCluster is an API server with pods, of which those with a node are on this one, and
// claims.
type fakeCluster struct {
	pods   []corev1.Pod
	claims []resourcev1.ResourceClaim
	// silent is why it does not answer about claims.
	silent error
	// lists is how often all claims were read, asked is called when one is.
	lists int
	asked func()
	// unbounded is how often claims and pods were read without a deadline.
	unbounded int
}

func (c *fakeCluster) Pods(ctx context.Context) ([]corev1.Pod, error) {
	c.note(ctx)
	return slices.DeleteFunc(slices.Clone(c.pods), func(p corev1.Pod) bool { return p.Spec.NodeName == "" }), nil
}

func (c *fakeCluster) Pod(_ context.Context, namespace, name string) (*corev1.Pod, error) {
	for i := range c.pods {
		if p := &c.pods[i]; p.Namespace == namespace && p.Name == name {
			return p, nil
		}
	}
	return nil, nil
}

func (c *fakeCluster) note(ctx context.Context) {
	if _, bounded := ctx.Deadline(); !bounded {
		c.unbounded++
	}
}

func (c *fakeCluster) Claim(ctx context.Context, namespace, name string) (*resourcev1.ResourceClaim, error) {
	c.note(ctx)
	if c.asked != nil {
		c.asked()
	}
	for i := range c.claims {
		if x := &c.claims[i]; x.Namespace == namespace && x.Name == name && c.silent == nil {
			return x, nil
		}
	}
	return nil, c.silent
}

func (c *fakeCluster) Claims(context.Context) ([]resourcev1.ResourceClaim, error) {
	c.lists++
	return c.claims, c.silent
}

// podOf is the pod that claim reserves a claim for; node is empty while it is not bound.
func podOf(name, node string) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name + "-pod", UID: types.UID(name + "-pod")},
		Spec:       corev1.PodSpec{NodeName: node, ResourceClaims: []corev1.PodResourceClaim{{ResourceClaimName: &name}}},
	}
}

// The place of a claim is its pod's from when it was allocated, however the pod names it.
func TestAllocatedClaimsHold(t *testing.T) {
	ways := map[string]corev1.Pod{
		"by name":     {Spec: corev1.PodSpec{ResourceClaims: []corev1.PodResourceClaim{{ResourceClaimName: ptr.To("c")}}}},
		"by template": {Status: corev1.PodStatus{ResourceClaimStatuses: []corev1.PodResourceClaimStatus{{ResourceClaimName: ptr.To("c")}}}},
		"as extended resource": {Status: corev1.PodStatus{
			ExtendedResourceClaimStatus: &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: "c"},
		}},
	}
	for name, pod := range ways {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			pod.ObjectMeta = metav1.ObjectMeta{Namespace: "team", Name: "c-pod", UID: "c-pod"}
			pod.Spec.NodeName = "node"
			cluster := &fakeCluster{pods: []corev1.Pod{pod}, claims: []resourcev1.ResourceClaim{*claim("c", "gpu-0-mig-1g5gb-19-4")}}
			key := agent.Promised("GPU-a", "1g.5gb", 4)
			got, err := Holders{s.Node, cluster}.Holders(t.Context())
			if err != nil || len(got) != 1 || got[key].Name != "c-pod" {
				t.Errorf("holders %v (%v), want pod c-pod at %s", got, err, key)
			}
			cluster.silent = errors.New("no answer")
			if got, err := (Holders{s.Node, cluster}).Holders(t.Context()); err == nil {
				t.Errorf("holders %v though the claim cannot be read", got)
			}
			s.prepare(claim("c", "gpu-0-mig-1g5gb-19-4")) // known from now on, and not asked for
			if got, err := (Holders{s.Node, cluster}).Holders(t.Context()); err != nil || got[key].Name != "c-pod" {
				t.Errorf("holders %v (%v) of a claim that is prepared", got, err)
			}
		})
	}
}

// A claim of the name of one that was another pod's is another claim.
func TestClaimOfAnEarlierName(t *testing.T) {
	s := newStage(t)
	s.prepare(claim("c", "gpu-0-mig-1g5gb-19-4"))
	later, pod := claim("c", "gpu-0-mig-1g5gb-19-5"), podOf("c", "node")
	later.UID, pod.UID, later.Status.ReservedFor[0].UID = "later", "later-pod", "later-pod"
	got, err := Holders{s.Node, &fakeCluster{pods: []corev1.Pod{pod}, claims: []resourcev1.ResourceClaim{*later}}}.Holders(t.Context())
	if key := agent.Promised("GPU-a", "1g.5gb", 5); err != nil || got[key].UID != "later-pod" {
		t.Errorf("holders %v (%v), want the later pod at %s", got, err, key)
	}
}

// What was allocated for a pod that no node has yet is held by it, while a layout is being
// changed, and only for as long as the pod may still come.
func TestUnboundPodsHold(t *testing.T) {
	key := agent.Promised("GPU-a", "1g.5gb", 4)
	for name, c := range map[string]struct {
		happens func(c *fakeCluster)
		held    bool
	}{
		"it is to be bound":            {func(*fakeCluster) {}, true},
		"its pod is gone":              {func(c *fakeCluster) { c.pods = nil }, false},
		"its pod was made anew":        {func(c *fakeCluster) { c.pods[0].UID = "other" }, false},
		"its pod has ended":            {func(c *fakeCluster) { c.pods[0].Status.Phase = corev1.PodFailed }, false},
		"it is another node's":         {func(c *fakeCluster) { c.claims[0].Status.Allocation.Devices.Results[0].Pool = "other" }, false},
		"it is reserved for nobody":    {func(c *fakeCluster) { c.claims[0].Status.ReservedFor = nil }, false},
		"it is not allocated any more": {func(c *fakeCluster) { c.claims[0].Status.Allocation = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			cluster := &fakeCluster{pods: []corev1.Pod{podOf("c", "")}, claims: []resourcev1.ResourceClaim{*claim("c", "gpu-0-mig-1g5gb-19-4")}}
			c.happens(cluster)
			if got, err := (Holders{s.Node, cluster}).Holders(t.Context()); err != nil || len(got) > 0 || cluster.lists > 0 {
				t.Errorf("holders %v (%v), and %d times all claims were read while no layout is changed", got, err, cluster.lists)
			}
			s.expect([]v1alpha1.Reshape{{ID: "r", GPU: "GPU-a"}})
			got, err := Holders{s.Node, cluster}.Holders(t.Context())
			if _, held := got[key]; err != nil || held != c.held {
				t.Errorf("holders %v (%v), want it held: %v", got, err, c.held)
			}
			cluster.silent = errors.New("no answer")
			if got, err := (Holders{s.Node, cluster}).Holders(t.Context()); err == nil {
				t.Errorf("holders %v though the claims cannot be read", got)
			}
		})
	}
}

// A claim that is being let go is promised to a pod that it was reserved for meanwhile, and
// not to the one after which it is let go.
func TestReservedAgainWhileLetGo(t *testing.T) {
	key := agent.Promised("GPU-a", "1g.5gb", 4)
	for pod, held := range map[string]bool{"c": false, "later": true} {
		s := newStage(t)
		c := claim("c", "gpu-0-mig-1g5gb-19-4")
		s.prepare(c)
		s.maker.refuse = device.ErrInUse
		if err := s.Unprepare(t.Context(), "c"); !errors.Is(err, device.ErrInUse) {
			t.Fatalf("let go: %v", err)
		}
		s.expect([]v1alpha1.Reshape{{ID: "r", GPU: "GPU-a"}})
		p := podOf(pod, "")
		c.Status.ReservedFor[0].Name, c.Status.ReservedFor[0].UID = p.Name, p.UID
		got, err := Holders{s.Node, &fakeCluster{pods: []corev1.Pod{p}, claims: []resourcev1.ResourceClaim{*c}}}.Holders(t.Context())
		if _, is := got[key]; err != nil || is != held {
			t.Errorf("reserved for %s: holders %v (%v), want it held: %v", p.Name, got, err, held)
		}
	}
}

// What a change made that is no longer asked for is not offered while it is undone, and is
// nobody's business after that.
func TestDroppedChangesAreNotOffered(t *testing.T) {
	r := v1alpha1.Reshape{ID: "r", GPU: "GPU-a", Destroy: []v1alpha1.MIGPlacement{{Start: 0}, {Start: 1}}, Create: []v1alpha1.MIGPlacement{{Profile: 1}}}
	made := status(true)
	made.GPUs[0].Instances = []v1alpha1.MIGInstance{{MIGPlacement: v1alpha1.MIGPlacement{Profile: 1}, State: v1alpha1.InstanceReady}}
	s := newStage(t)
	s.expect([]v1alpha1.Reshape{r})
	for _, step := range []struct {
		name, state string
		drop        bool
		offered     string
		changing    bool
	}{
		{"made", v1alpha1.ReshapeMade, false, "2g10gb-14-0", false},
		{"dropped", v1alpha1.ReshapeMade, true, "", true},
		{"undoing", v1alpha1.ReshapeUndoing, true, "", true},
		{"stuck", v1alpha1.ReshapeStuck, true, "", true},
		{"undone", v1alpha1.ReshapeUndone, true, "2g10gb-14-0", false},
		{"forgotten", "", true, "2g10gb-14-0", false},
	} {
		if made.Reshapes = nil; step.state != "" {
			made.Reshapes = []v1alpha1.ReshapeStatus{{ID: "r", State: step.state}}
		}
		s.observe(made)
		if step.drop {
			s.expect(nil)
		}
		if got := offeredOf(s.Node); got != step.offered || s.changing() != step.changing {
			t.Errorf("%s: offered %q, want %q; changing %v, want %v", step.name, got, step.offered, s.changing(), step.changing)
		}
	}
	if len(s.dropped) > 0 {
		t.Errorf("still kept: %+v", s.dropped)
	}
}

// From when a change is asked for until it is settled, and again for its undoing, all
// claims are read, and the places that go are not offered.
func TestPlacesOfAChangeAreNotOffered(t *testing.T) {
	const all = "1g5gb-19-0 1g5gb-19-1 1g5gb-19-2 1g5gb-19-3 1g5gb-19-4 1g5gb-19-5 1g5gb-19-6"
	r := v1alpha1.Reshape{
		ID: "r", GPU: "GPU-a", Destroy: []v1alpha1.MIGPlacement{{Start: 0}, {Start: 1}}, Create: []v1alpha1.MIGPlacement{{Profile: 1}},
	}
	undo := r
	undo.Undo = true
	s := newStage(t)
	for _, step := range []struct {
		name     string
		asked    []v1alpha1.Reshape
		state    string
		offered  string
		changing bool
	}{
		{"nothing", nil, "", all, false},
		{"asked for", []v1alpha1.Reshape{r}, "", all[2*len("1g5gb-19-0 "):], true},
		{"making", []v1alpha1.Reshape{r}, v1alpha1.ReshapeMaking, all[2*len("1g5gb-19-0 "):], true},
		{"made", []v1alpha1.Reshape{r}, v1alpha1.ReshapeMade, all[2*len("1g5gb-19-0 "):], false},
		{"to be undone", []v1alpha1.Reshape{undo}, v1alpha1.ReshapeMade, all, true},
		{"no longer asked for", nil, v1alpha1.ReshapeUndoing, all, true},
		{"stuck", []v1alpha1.Reshape{r}, v1alpha1.ReshapeStuck, all, true},
		{"refused", []v1alpha1.Reshape{r}, v1alpha1.ReshapeRefused, all, false},
		{"undone", []v1alpha1.Reshape{undo}, v1alpha1.ReshapeUndone, all, false},
	} {
		s.expect(step.asked)
		status := status(true)
		if step.state != "" {
			status.Reshapes = []v1alpha1.ReshapeStatus{{ID: "r", State: step.state}}
		}
		s.observe(status)
		if got := offeredOf(s.Node); got != step.offered || s.changing() != step.changing {
			t.Errorf("%s: offered %s, want %s; changing %v, want %v", step.name, got, step.offered, s.changing(), step.changing)
		}
	}
	// What was made, and is to go, is not offered either, although it is of the layout.
	made := status(true)
	made.GPUs[0].Instances = []v1alpha1.MIGInstance{{MIGPlacement: v1alpha1.MIGPlacement{Profile: 1}, State: v1alpha1.InstanceReady}}
	made.Reshapes = []v1alpha1.ReshapeStatus{{ID: "r", State: v1alpha1.ReshapeMade}}
	for want, asked := range map[string]v1alpha1.Reshape{"2g10gb-14-0": r, "": undo} {
		s.expect([]v1alpha1.Reshape{asked})
		s.observe(made)
		if got := offeredOf(s.Node); got != want {
			t.Errorf("undo %v: offered %q, want %q", asked.Undo, got, want)
		}
	}
}

// A pod that was promised a slice, and is not on the node yet, keeps a change from taking
// it; one that is promised it while it is being taken gets it back.
func TestAChangeTakesNothingPromised(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		m := newMachine(t)
		m.cluster.pods = []corev1.Pod{podOf("c", "")}
		m.cluster.claims = []resourcev1.ResourceClaim{*claim("c", "gpu-0-mig-1g5gb-19-1")}
		m.ask()
		m.await(v1alpha1.ReshapeRefused)
		m.want("1g@0:R 1g@1:R 1g@2:R 1g@3:R 1g@4:R 1g@5:R 1g@6:R")
		m.prepare("c", "gpu-0-mig-1g5gb-19-1")
	})
	t.Run("meanwhile", func(t *testing.T) {
		m := newMachine(t)
		m.step = func(step string) {
			if step == agent.FailCreateDone && len(m.cluster.pods) == 0 {
				m.cluster.pods = []corev1.Pod{podOf("c", "")}
				m.cluster.claims = []resourcev1.ResourceClaim{*claim("c", "gpu-0-mig-1g5gb-19-1")}
			}
		}
		m.ask()
		m.await(v1alpha1.ReshapeRefused)
		m.want("1g@0:R 1g@1:R 1g@2:R 1g@3:R 1g@4:R 1g@5:R 1g@6:R")
		m.prepare("c", "gpu-0-mig-1g5gb-19-1")
	})
	t.Run("not known", func(t *testing.T) {
		m := newMachine(t)
		m.cluster.silent = errors.New("no answer")
		m.ask()
		m.round()
		m.round()
		if s := m.api.node.Status.Reshapes; len(s) > 0 {
			t.Errorf("the change is %+v while who holds what is not known", s)
		}
		m.cluster.silent = nil
		m.await(v1alpha1.ReshapeMade)
	})
}
