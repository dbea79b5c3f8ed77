package ebbtide

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
)

const (
	oneG  = "nvidia.com/mig-1g.5gb"
	fourG = "nvidia.com/mig-4g.20gb"
)

var gpuNodes = v1alpha1.GroupVersion.WithResource("gpunodes")

// a100 is the board of the tests' cards.
func a100(t testing.TB) v1alpha1.MIGBoard {
	t.Helper()
	for _, g := range mig.Boards() {
		if _, is := g.ProfileOf(oneG); !is || g.Slots != 8 {
			continue
		}
		b := v1alpha1.MIGBoard{Name: g.Board, Slots: int32(g.Slots)}
		for _, p := range g.Profiles {
			profile := v1alpha1.MIGProfile{Profile: int32(p.ID), GIProfileID: int64(p.GIProfileID), Name: p.Name, Compute: int32(p.Compute), Memory: int32(p.Memory), Max: int32(p.Max)}
			for _, start := range p.Starts {
				profile.Starts = append(profile.Starts, int32(start))
			}
			b.Profiles = append(b.Profiles, profile)
		}
		return b
	}
	t.Fatal("there is no board with eight slots and 1g.5gb")
	return v1alpha1.MIGBoard{}
}

// placeAt reads a place such as 1g.5gb@4.
func placeAt(b *v1alpha1.MIGBoard, place string) v1alpha1.MIGPlacement {
	name, start, _ := strings.Cut(place, "@")
	out := v1alpha1.MIGPlacement{Name: name, Start: int32(start[0] - '0')}
	i := slices.IndexFunc(b.Profiles, func(p v1alpha1.MIGProfile) bool { return p.Name == name })
	out.Profile = b.Profiles[i].Profile
	return out
}

func places(b *v1alpha1.MIGBoard, list string) []v1alpha1.MIGPlacement {
	var out []v1alpha1.MIGPlacement
	for _, place := range strings.Fields(list) {
		out = append(out, placeAt(b, place))
	}
	return out
}

// sevenths is an A100 cut in seven.
const sevenths = "1g.5gb@0 1g.5gb@1 1g.5gb@2 1g.5gb@3 1g.5gb@4 1g.5gb@5 1g.5gb@6"

// card is a node with one A100, as its agent and its kubelet say.
type card struct {
	*node
	w  *world
	gn *v1alpha1.GPUNode
}

// card makes a node whose A100 has that layout.
func (w *world) card(name, layout string) *card {
	b := a100(w.t)
	c := &card{w: w, node: w.node(name, 0, 64), gn: &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: name}}}
	c.gn.Status.Boards = []v1alpha1.MIGBoard{b}
	c.gn.Status.GPUs = []v1alpha1.GPUStatus{{UUID: "GPU-" + name, Board: b.Name, MIG: true, Healthy: true}}
	c.cut(layout)
	w.gpuNodes = append(w.gpuNodes, c.gn)
	c.tell()
	return c
}

// cut gives the card a layout; what is at its place stays what it is.
func (c *card) cut(layout string) {
	gpu := &c.gn.Status.GPUs[0]
	before, none := gpu.Instances, int32(0)
	gpu.Instances, c.allocatable = nil, map[corev1.ResourceName]int64{gpu0: 0, corev1.ResourceCPU: 64, oneG: 0, fourG: 0}
	for _, place := range places(&c.gn.Status.Boards[0], layout) {
		i := slices.IndexFunc(before, func(in v1alpha1.MIGInstance) bool { return in.Profile == place.Profile && in.Start == place.Start })
		in := v1alpha1.MIGInstance{MIGPlacement: place, State: v1alpha1.InstanceReady, Processes: &none, Resource: "nvidia.com/mig-" + place.Name}
		if in.Generation = 1; i >= 0 {
			in = before[i]
		}
		gpu.Instances = append(gpu.Instances, in)
		c.allocatable[corev1.ResourceName(in.Resource)]++
	}
}

const gpu0 = corev1.ResourceName(gpu)

// tell lets the agent be heard.
func (c *card) tell() {
	c.tellBy(0)
}

// tellBy lets the agent be heard whose node's clock is off by so much.
func (c *card) tellBy(off time.Duration) {
	c.gn.Status.Heartbeat = metav1.NewMicroTime(c.w.time.Now().Add(off))
	c.seen()
}

// seen lets the plugin and the API see the GPUNode as it is.
func (c *card) seen() {
	c.w.onGPUNode(klog.Background()).OnUpdate(nil, c.gn.DeepCopy())
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(c.gn.DeepCopy())
	must(c.w.t, err)
	o := &unstructured.Unstructured{Object: fields}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("GPUNode"))
	c.w.putObject(gpuNodes, o)
}

// pin keeps places for services.
func (c *card) pin(list string) *card {
	c.gn.Spec.Pinned = []v1alpha1.PinnedSlices{{GPU: c.gn.Status.GPUs[0].UUID, Places: places(&c.gn.Status.Boards[0], list)}}
	c.seen()
	return c
}

// hold lets the agent say that the pod has the slice.
func (c *card) hold(place string, p *corev1.Pod) {
	want := placeAt(&c.gn.Status.Boards[0], place)
	for i := range c.gn.Status.GPUs[0].Instances {
		in := &c.gn.Status.GPUs[0].Instances[i]
		if in.Profile == want.Profile && in.Start == want.Start {
			if in.Holder = nil; p != nil {
				in.Holder = &v1alpha1.GPUHolder{Namespace: p.Namespace, Name: p.Name, UID: p.UID}
			}
		}
	}
	c.tell()
}

// reshape wants places made into others, and lets the agent be in the state.
func (c *card) reshape(id, state, destroy, create string) {
	b := &c.gn.Status.Boards[0]
	r := v1alpha1.Reshape{
		ID: id, GPU: c.gn.Status.GPUs[0].UUID, Lender: "serving/chat", JobUID: "job-big", From: "a100-1g", To: "a100-4g",
		Base: "before", Destroy: places(b, destroy), Create: places(b, create),
	}
	c.gn.Spec.Reshapes = append(c.gn.Spec.Reshapes, r)
	if state != "" {
		c.gn.Status.Reshapes = append(c.gn.Status.Reshapes, v1alpha1.ReshapeStatus{ID: id, State: state})
	}
	c.tell()
}

// sliced gives the tenants quota for slices: serving has all, research none.
func (w *world) sliced() *world {
	q := w.tenant("serving", 64)
	q.Spec.Flavors = append(q.Spec.Flavors,
		v1alpha1.FlavorQuota{Name: "a100-1g", Resource: oneG, Nominal: 64},
		v1alpha1.FlavorQuota{Name: "a100-4g", Resource: fourG, Nominal: 8})
	must(w.t, w.quotas.Update(q))
	return w
}

// slices makes a pod that asks for slices of one resource.
func (w *world) slices(name, namespace string, priority int32, resource corev1.ResourceName, units int64, on *node) *corev1.Pod {
	p := w.pod(name, namespace, priority, 0, nil)
	delete(p.Spec.Containers[0].Resources.Requests, gpu)
	request(p, resource, units)
	if on != nil {
		p.Spec.NodeName = on.node.Name
		on.pods = append(on.pods, podInfo{pod: p})
	}
	w.put(p)
	return p
}

func (w *world) replicaOn(name string, on *node) *corev1.Pod {
	return w.slices(name, "serving", v1alpha1.PriorityOnline, oneG, 1, on)
}

// sliceLoan lends slices of serving/chat to a job.
func (w *world) sliceLoan(name, resource, flavor string, pods int32, node string) *v1alpha1.Loan {
	l := w.loan(name, pods, 1, lent(node, int64(pods)))
	l.Spec.Resource, l.Spec.Grants[0].Flavor = resource, flavor
	must(w.t, w.loans.Update(l))
	return l
}

// workerOn makes a pod of a loan of slices.
func (w *world) workerOn(l *v1alpha1.Loan, name string, on *node) *corev1.Pod {
	p := w.slices(name, "research", -100, corev1.ResourceName(l.Spec.Resource), 1, on)
	p.Labels = map[string]string{v1alpha1.LabelQueue: "default"}
	ownedBy(p, l.Spec.Job.Name, l.Spec.Job.UID)
	w.put(p)
	return p
}

// bind runs the whole of the pod's cycle. It returns the slices that it carries, or why
// it has none.
func (w *world) bind(p *corev1.Pod) string {
	w.t.Helper()
	ctx, state := w.t.Context(), newState()
	named, s := w.PreFilter(ctx, state, p, w.infos())
	if !s.IsSuccess() && !s.IsSkip() {
		return s.Message()
	}
	var why []string
	for _, n := range w.nodes {
		if !named.AllNodes() && !named.NodeNames.Has(n.node.Name) {
			continue
		}
		if s := w.handle.RunFilterPluginsWithNominatedPods(ctx, state, p, n); !s.IsSuccess() {
			why = append(why, s.Message())
			continue
		}
		if s := w.Reserve(ctx, state, p, n.node.Name); !s.IsSuccess() {
			return "Reserve: " + s.Message()
		}
		if _, s := w.PreBindPreFlight(ctx, state, p, n.node.Name); s.IsSuccess() {
			if s := w.PreBind(ctx, state, p, n.node.Name); !s.IsSuccess() {
				w.Unreserve(ctx, state, p, n.node.Name)
				return "PreBind: " + s.Message()
			}
		}
		now, err := w.client.CoreV1().Pods(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
		must(w.t, err)
		p.Annotations, p.Spec.NodeName = now.Annotations, n.node.Name
		n.pods = append(n.pods, podInfo{pod: p})
		w.put(p)
		w.onPod(klog.Background()).OnUpdate(nil, p)
		return p.Annotations[v1alpha1.AnnotationInstances]
	}
	return strings.Join(why, "; ")
}

// remove ends a pod.
func (w *world) remove(p *corev1.Pod, from *node) {
	must(w.t, from.RemovePod(klog.Background(), p))
	must(w.t, w.pods.Delete(p))
	w.onPod(klog.Background()).OnDelete(p)
}

// pinsIn makes a policy of the namespace pin slices.
func (w *world) pinsIn(namespace string, pinned int32) {
	must(w.t, w.policyStore.Add(&v1alpha1.LendingPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "chat", Namespace: namespace},
		Spec:       v1alpha1.LendingPolicySpec{MIG: &v1alpha1.MIGPolicy{Pinned: pinned}},
	}))
}
