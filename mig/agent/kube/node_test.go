package kube

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig/agent"
)

// newNode is gpu-0 in a cluster that is played. behind, if not nil, is what the watch has
// come to.
func newNode(t *testing.T, behind client.Reader, objects ...client.Object) *Node {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "gpu-0", UID: "node-uid"},
		Status:     corev1.NodeStatus{Allocatable: corev1.ResourceList{"nvidia.com/mig-1g.5gb": resource.MustParse("7")}},
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(append(objects, node)...).WithStatusSubresource(&v1alpha1.GPUNode{}, node, &corev1.Pod{}).Build()
	n := &Node{name: "gpu-0", reader: c, client: c, changed: make(chan struct{}, 1)}
	if behind != nil {
		n.reader = behind
	}
	return n
}

// old is a watch that has come to one GPUNode and no further.
type old struct {
	client.Reader
	node v1alpha1.GPUNode
}

func (o *old) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	o.node.DeepCopyInto(into.(*v1alpha1.GPUNode))
	return nil
}

func TestMakesItsGPUNode(t *testing.T) {
	n := newNode(t, nil)
	got, err := n.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if owners := got.OwnerReferences; got.Name != "gpu-0" || len(owners) != 1 || owners[0].Kind != "Node" || owners[0].UID != "node-uid" {
		t.Errorf("it made %+v", got.ObjectMeta)
	}
	again, err := n.Get(t.Context())
	if err != nil || again != got {
		t.Errorf("the same is read as another (%v)", err)
	}
}

// A watch that begins with an older GPUNode than was read is not believed.
func TestNeverGoesBack(t *testing.T) {
	newer := &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0", UID: "u", Generation: 5}}
	behind := &old{node: v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0", UID: "u", Generation: 4, ResourceVersion: "1"}}}
	n := newNode(t, behind, newer)
	for range 2 {
		got, err := n.Get(t.Context())
		if err != nil || got.Generation != 5 {
			t.Fatalf("generation %d, want 5 (%v)", got.Generation, err)
		}
	}
	behind.node.Generation, behind.node.ResourceVersion = 6, "999999"
	if got, err := n.Get(t.Context()); err != nil || got.Generation != 6 {
		t.Fatalf("generation %d, want 6 (%v)", got.Generation, err)
	}
}

// A status that gets through brings what is asked for by now, whatever has become of the watch:
// after an outage of the API server it takes a minute until it goes on.
func TestPublishingTellsWhatIsAskedFor(t *testing.T) {
	asked := &v1alpha1.GPUNode{
		ObjectMeta: metav1.ObjectMeta{Name: "gpu-0", UID: "u", Generation: 5},
		Spec:       v1alpha1.GPUNodeSpec{Reshapes: []v1alpha1.Reshape{{ID: "r1", Undo: true}}},
	}
	behind := &old{node: v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0", UID: "u", Generation: 4, ResourceVersion: "1"}}}
	n := newNode(t, behind)
	n.client, n.last = served(t, asked), behind.node.DeepCopy()
	if err := n.Publish(t.Context(), v1alpha1.GPUNodeStatus{Heartbeat: metav1.NewMicroTime(time.Unix(1e9, 0))}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-n.Changed():
	default:
		t.Error("nobody is told that something else is asked for")
	}
	got, err := n.Get(t.Context())
	if err != nil || len(got.Spec.Reshapes) != 1 || !got.Spec.Reshapes[0].Undo {
		t.Errorf("asked for is %+v (%v)", got.Spec, err)
	}
	if err := n.Publish(t.Context(), v1alpha1.GPUNodeStatus{Heartbeat: metav1.NewMicroTime(time.Unix(2e9, 0))}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-n.Changed():
		t.Error("nothing else is asked for, and somebody is told so")
	default:
	}
}

// served is a client of an API server that has one GPUNode, and takes any status.
func served(t *testing.T, node *v1alpha1.GPUNode) client.Client {
	t.Helper()
	node.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "GPUNode"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(node) // the client has gone if this fails
	}))
	t.Cleanup(server.Close)
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.GroupVersion.WithKind("GPUNode"), meta.RESTScopeRoot)
	c, err := client.New(&rest.Config{Host: server.URL}, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pluginPod(name, uid string, ready corev1.ConditionStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "nvidia", Name: name, UID: types.UID(uid), Labels: map[string]string{"app": "plugin"}},
		Spec:       corev1.PodSpec{NodeName: "gpu-0"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
	}
}

func TestRestartsTheDevicePlugin(t *testing.T) {
	n := newNode(t, nil, pluginPod("p1", "u1", corev1.ConditionTrue))
	d, err := NewDevicePlugin(n, "app=plugin")
	if err != nil {
		t.Fatal(err)
	}
	change := agent.Change{ID: "1", Resources: map[string]int64{"nvidia.com/mig-1g.5gb": 3, "nvidia.com/mig-4g.20gb": 1}}
	step := func(want bool, fault string) {
		t.Helper()
		done, err := d.Advertise(t.Context(), change)
		if (err != nil) != (fault != "") || err != nil && !strings.Contains(err.Error(), fault) || err == nil && done != want {
			t.Fatalf("advertised: %t (%v), want %t %q", done, err, want, fault)
		}
	}
	step(false, "")
	err = n.client.Get(t.Context(), client.ObjectKey{Namespace: "nvidia", Name: "p1"}, &corev1.Pod{})
	if !apierrors.IsNotFound(err) {
		t.Fatalf("the pod is still there (%v)", err)
	}
	step(false, "")
	fresh := pluginPod("p2", "u2", corev1.ConditionFalse)
	if err := n.client.Create(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	step(false, "")
	fresh.Status.Conditions[0].Status = corev1.ConditionTrue
	if err := n.client.Status().Update(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	step(false, "the node offers 7 nvidia.com/mig-1g.5gb and has 3")
	node, err := n.node(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	node.Status.Allocatable = corev1.ResourceList{"nvidia.com/mig-1g.5gb": resource.MustParse("3"), "nvidia.com/mig-4g.20gb": resource.MustParse("1")}
	if err := n.client.Status().Update(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	step(true, "")
	change.ID = "2"
	step(false, "")
	step(false, "")
	change.ID = "3"
	step(false, "there is no pod of the device plugin")
}

// devices is a kubelet.
type devices struct {
	held map[string]v1alpha1.GPUHolder
	err  error
}

func (d devices) Holders(context.Context) (map[string]v1alpha1.GPUHolder, error) {
	return d.held, d.err
}

func TestHoldersAndPromises(t *testing.T) {
	holds, waits, ended := pluginPod("holds", "u1", corev1.ConditionTrue), pluginPod("waits", "u2", corev1.ConditionFalse), pluginPod("ended", "u3", corev1.ConditionFalse)
	waits.Annotations = map[string]string{v1alpha1.AnnotationInstances: "GPU-1/1g.5gb@4#2"}
	ended.Annotations = map[string]string{v1alpha1.AnnotationInstances: "GPU-1/1g.5gb@5#2"}
	ended.Status.Phase = corev1.PodFailed
	n := newNode(t, nil, holds, waits, ended)
	h := Holders{Node: n, Devices: devices{held: map[string]v1alpha1.GPUHolder{"MIG-1": {Namespace: "nvidia", Name: "holds"}}}}
	got, err := h.Holders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got["MIG-1"].UID != "u1" || got[agent.Promised("GPU-1", "1g.5gb", 4)].Name != "waits" {
		t.Errorf("holders %+v", got)
	}
	h.Devices = devices{err: errors.New("down")}
	if _, err := h.Holders(t.Context()); err == nil {
		t.Error("without the kubelet it is known who holds what")
	}
}

// A kubelet that has just started may not know what it handed out. A pod that has less
// than it asks for makes everything unknown; one that ended, or that has it by a claim,
// does not.
func TestHoldersOfAForgetfulKubelet(t *testing.T) {
	asks := func(name string, resource corev1.ResourceName) *corev1.Pod {
		p := pluginPod(name, name, corev1.ConditionTrue)
		p.Spec.Containers = []corev1.Container{
			{Name: "a", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{resource: resource1, "cpu": resource1}}},
			{Name: "b", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{resource: resource1}}},
		}
		return p
	}
	pod, ended, claimed := asks("chat", "nvidia.com/mig-1g.5gb"), asks("ended", "nvidia.com/gpu"), asks("claims", "nvidia.com/gpu")
	ended.Status.Phase = corev1.PodFailed
	claimed.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{RequestMappings: []corev1.ContainerExtendedResourceRequest{
		{ContainerName: "a", ResourceName: "nvidia.com/gpu"}, {ContainerName: "b", ResourceName: "nvidia.com/gpu"},
	}}
	n := newNode(t, nil, pod, ended, claimed, asks("nic", "example.com/nic"))
	holder := v1alpha1.GPUHolder{Namespace: pod.Namespace, Name: pod.Name}
	for _, c := range []struct {
		held  map[string]v1alpha1.GPUHolder
		known bool
	}{
		{nil, false},
		{map[string]v1alpha1.GPUHolder{"MIG-1": holder}, false},
		{map[string]v1alpha1.GPUHolder{"MIG-1": holder, "MIG-2": holder}, true},
	} {
		_, err := Holders{Node: n, Devices: devices{held: c.held}, Plugin: true}.Holders(t.Context())
		if (err == nil) != c.known {
			t.Errorf("with %d of 2 devices the error is %v", len(c.held), err)
		}
		if err != nil && !strings.Contains(err.Error(), "pod nvidia/chat asks for 2 devices") {
			t.Errorf("the error is %v", err)
		}
	}
}

// late is a watch that has come to some pods and no further.
type late struct {
	client.Reader
	pods []corev1.Pod
}

func (l late) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	into.(*corev1.PodList).Items = l.pods
	return nil
}

// A pod that holds nothing, and of which the watch has not seen that it is gone or has ended,
// keeps nobody from knowing who holds what.
func TestHoldersWhereTheWatchIsLate(t *testing.T) {
	asking := func(uid string, phase corev1.PodPhase) *corev1.Pod {
		p := pluginPod("job", uid, corev1.ConditionTrue)
		p.Spec.Containers = []corev1.Container{{Name: "a", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/mig-1g.5gb": resource1}}}}
		p.Status.Phase = phase
		return p
	}
	for name, c := range map[string]struct {
		now   []client.Object
		known bool
	}{
		"it is there":         {[]client.Object{asking("u1", corev1.PodRunning)}, false},
		"it is gone":          {nil, true},
		"it has ended":        {[]client.Object{asking("u1", corev1.PodSucceeded)}, true},
		"it was made anew":    {[]client.Object{asking("u2", corev1.PodPending)}, true},
		"nobody can be asked": {[]client.Object{asking("u1", corev1.PodSucceeded)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, late{pods: []corev1.Pod{*asking("u1", corev1.PodRunning)}}, c.now...)
			if name == "nobody can be asked" {
				n.client = interceptor.NewClient(n.client.(client.WithWatch), interceptor.Funcs{
					Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
						return errors.New("down")
					},
				})
			}
			_, err := Holders{Node: n, Devices: devices{}, Plugin: true}.Holders(t.Context())
			if (err == nil) != c.known {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

var resource1 = resource.MustParse("1")

// A pod that holds a slice has no promise of another any more.
func TestPromisesEndWithWhatIsHeld(t *testing.T) {
	pod := pluginPod("chat", "u1", corev1.ConditionTrue)
	pod.Annotations = map[string]string{v1alpha1.AnnotationInstances: "GPU-1/1g.5gb@0#1"}
	h := Holders{Node: newNode(t, nil, pod), Devices: devices{held: map[string]v1alpha1.GPUHolder{"MIG-4": {Namespace: pod.Namespace, Name: "chat"}}}}
	got, err := h.Holders(t.Context())
	if err != nil || len(got) != 1 || got["MIG-4"].UID != "u1" {
		t.Errorf("holders %+v (%v), want that of MIG-4 alone", got, err)
	}
}

func TestRefusesNeedsPolicyAndBinding(t *testing.T) {
	if refuses, err := newNode(t, nil).Refuses(t.Context()); err != nil || refuses {
		t.Errorf("without a policy it refuses: %t (%v)", refuses, err)
	}
}
