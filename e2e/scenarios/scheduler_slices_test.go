package scenarios

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
	"github.com/ebbtide/ebbtide/mig"
)

// The scheduler alone gives pods their slices one by one, and takes a card back that was
// reshaped: it stops the job that has what was made, asks for the undoing, and places the
// online pod when the agent, which the test plays, has brought its slices back.
func TestSchedulerTakesReshapedSlicesBack(t *testing.T) {
	l := newSchedulerLab(t, "second-scheduler.yaml", lab.Options{})
	c := cutNode{lonely{l, t, asBroker(t, l)}, asAgent(t, l)}
	c.begin()
	for i := range 3 {
		c.online(fmt.Sprint("chat-", i))
	}
	for i, want := range []string{"6", "5", "4"} {
		c.awaitSlices(onlineNamespace, fmt.Sprint("chat-", i), "GPU-cut/1g.5gb@"+want+"#1")
	}
	c.lendBig()
	worker := c.awaitWorker()
	c.awaitSlices(trainingNamespace, worker, "GPU-cut/4g.20gb@0#1")

	c.online("hungry")
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		n := c.read(ctx)
		return n.Spec.Reshapes[0].Undo, "the reshape is not to be undone"
	})
	c.awaitPodGone(worker)
	job, err := l.Client().BatchV1().Jobs(trainingNamespace).Get(t.Context(), "big", metav1.GetOptions{})
	if err != nil || !ptr.Deref(job.Spec.Suspend, false) || job.Annotations[v1alpha1.AnnotationTakenBack] != "1" {
		t.Errorf("the job is suspended: %v, taken back: %q (%v)", job.Spec.Suspend, job.Annotations[v1alpha1.AnnotationTakenBack], err)
	}
	c.says(v1alpha1.ReshapeUndone, 2, 0, 1, 2, 3)
	c.awaitSlices(onlineNamespace, "hungry", "GPU-cut/1g.5gb@3#2")
}

// cutNode is a cluster with a node whose one card was reshaped; the test plays its agent
// and its kubelet, and the broker.
type cutNode struct {
	lonely
	agent client.Client
}

const cutName = "cut"

func asAgent(t *testing.T, l *lab.Lab) client.Client {
	t.Helper()
	config := rest.CopyConfig(l.Config())
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:ebbtide-agent:ebbtide-agent", Groups: []string{"system:masters"}}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return api
}

func place(profile mig.ProfileID, name string, start int) v1alpha1.MIGPlacement {
	return v1alpha1.MIGPlacement{Profile: int32(profile), Name: name, Start: int32(start)}
}

func ones(starts ...int) (places []v1alpha1.MIGPlacement) {
	for _, start := range starts {
		places = append(places, place(oneGProfile, "1g.5gb", start))
	}
	return places
}

// begin makes the tenants, the node and its GPUNode.
func (c cutNode) begin() {
	c.t.Helper()
	ctx := c.t.Context()
	if err := c.CreateNamespace(ctx, trainingNamespace, map[string]string{"team": trainingNamespace}); err != nil {
		c.t.Fatal(err)
	}
	flavors := []v1alpha1.FlavorQuota{{Name: oneGFlavor, Resource: oneG}, {Name: fourGFlavor, Resource: fourG}}
	create(c.t, c.Lab, &v1alpha1.TenantQuota{
		ObjectMeta: metav1.ObjectMeta{Name: trainingNamespace},
		Spec:       v1alpha1.TenantQuotaSpec{Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": trainingNamespace}}, Flavors: flavors},
	})
	quota := &v1alpha1.TenantQuota{}
	if err := c.api.Get(ctx, client.ObjectKey{Name: onlineNamespace}, quota); err != nil {
		c.t.Fatal(err)
	}
	quota.Spec.Flavors = append(quota.Spec.Flavors, v1alpha1.FlavorQuota{Name: oneGFlavor, Resource: oneG, Nominal: 7})
	if err := c.api.Update(ctx, quota); err != nil {
		c.t.Fatal(err)
	}
	n := &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: cutName}, Spec: v1alpha1.GPUNodeSpec{
		Pinned: []v1alpha1.PinnedSlices{{GPU: "GPU-cut", Places: ones(4, 5, 6)}},
		Reshapes: []v1alpha1.Reshape{{
			ID: "r", GPU: "GPU-cut", Lender: onlineNamespace + "/chat", From: oneGFlavor, To: fourGFlavor, Base: "before",
			Destroy: ones(0, 1, 2, 3), Create: []v1alpha1.MIGPlacement{place(fourGProfile, "4g.20gb", 0)},
		}},
	}}
	labtest.Create(c.t, c.api, n)
	c.says(v1alpha1.ReshapeMade, 1)
	if err := c.AddNodes(ctx, []lab.NodeSpec{{Name: cutName, Extra: corev1.ResourceList{}}}); err != nil {
		c.t.Fatal(err)
	}
	c.offers(3, 1)
}

// says lets the agent say how far the reshape is, and which slices there are beside those
// that are pinned: those of 1g at the starts, or else the large one.
func (c cutNode) says(state string, generation int64, starts ...int) {
	c.t.Helper()
	n := c.read(c.t.Context())
	free, places := int32(0), ones(starts...)
	if len(starts) == 0 {
		places = n.Spec.Reshapes[0].Create
	}
	gpu := v1alpha1.GPUStatus{UUID: "GPU-cut", Board: "A100", MIG: true, Healthy: true}
	for i, at := range append(places, ones(4, 5, 6)...) {
		if at.Generation = 1; i < len(places) {
			at.Generation = generation
		}
		gpu.Instances = append(gpu.Instances, v1alpha1.MIGInstance{MIGPlacement: at, State: v1alpha1.InstanceReady, Processes: &free})
	}
	n.Status = v1alpha1.GPUNodeStatus{
		Heartbeat: metav1.NowMicro(), GPUs: []v1alpha1.GPUStatus{gpu},
		Boards: []v1alpha1.MIGBoard{{Name: "A100", Slots: 8, Profiles: []v1alpha1.MIGProfile{
			{Profile: int32(oneGProfile), GIProfileID: 19, Name: "1g.5gb", Compute: 1, Memory: 1, Max: 7, Starts: []int32{0, 1, 2, 3, 4, 5, 6}},
			{Profile: 2, GIProfileID: 9, Name: "3g.20gb", Compute: 3, Memory: 4, Max: 2, Starts: []int32{0, 4}},
			{Profile: int32(fourGProfile), GIProfileID: 5, Name: "4g.20gb", Compute: 4, Memory: 4, Max: 1, Starts: []int32{0}},
		}}},
		Reshapes: []v1alpha1.ReshapeStatus{{ID: "r", State: state, Since: metav1.NowMicro()}},
	}
	if err := c.agent.Status().Update(c.t.Context(), n); err != nil {
		c.t.Fatal(err)
	}
	if len(starts) > 0 {
		c.offers(int64(3+len(starts)), 0)
	}
}

// offers lets the kubelet offer so many slices.
func (c cutNode) offers(ones, fours int64) {
	c.t.Helper()
	patch := fmt.Appendf(nil, `{"status":{"capacity":{%q:"%d",%q:"%d"},"allocatable":{%[1]q:"%[2]d",%[3]q:"%[4]d"}}}`, oneG, ones, fourG, fours)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: cutName}}
	if err := c.api.Status().Patch(c.t.Context(), node, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		c.t.Fatal(err)
	}
}

func (c cutNode) read(ctx context.Context) *v1alpha1.GPUNode {
	c.t.Helper()
	n := &v1alpha1.GPUNode{}
	if err := c.api.Get(ctx, client.ObjectKey{Name: cutName}, n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// online makes an online pod on a slice.
func (c cutNode) online(name string) {
	c.t.Helper()
	pod := bare(name, onlineNamespace, v1alpha1.SchedulerName, 1)
	onSlices(&pod.Spec, oneG)
	create(c.t, c.Lab, pod)
	if name != "hungry" {
		awaitNode(c.t, c.Lab, onlineNamespace, name)
	}
}

// lendBig starts a job of one pod on the large slice, on a loan.
func (c cutNode) lendBig() {
	c.t.Helper()
	job := slicedJob("big", fourG)
	job.Spec.Template.Spec.TerminationGracePeriodSeconds = ptr.To[int64](2)
	create(c.t, c.Lab, job)
	loan := &v1alpha1.Loan{
		ObjectMeta: metav1.ObjectMeta{Namespace: trainingNamespace, Name: "big-1"},
		Spec: v1alpha1.LoanSpec{
			Job:     v1alpha1.JobRef{APIVersion: "batch/v1", Kind: "Job", Name: "big", UID: job.UID, SuspendPath: "/spec/suspend"},
			Attempt: 1, Borrower: trainingNamespace, Queue: "default", Resource: fourG, Pods: 1, UnitsPerPod: 1,
			Grants:   []v1alpha1.Grant{{Lender: onlineNamespace + "/chat", Node: cutName, Flavor: fourGFlavor, Count: 1}},
			MaxGrace: metav1.Duration{Duration: maxGrace}, OpID: "op-big", Epoch: 1,
		},
	}
	labtest.Create(c.t, c.api, loan)
	o := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, ObjectMeta: metav1.ObjectMeta{Namespace: trainingNamespace, Name: "big"}}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"1"}},"spec":{"suspend":false}}`, v1alpha1.AnnotationAttempt)
	if err := c.api.Patch(c.t.Context(), o, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		c.t.Fatal(err)
	}
}

// awaitWorker waits until the job's pod runs, and returns its name.
func (c cutNode) awaitWorker() (name string) {
	c.t.Helper()
	c.awaitRunning(1)
	pods, err := c.pods(c.t.Context())
	if err != nil || len(pods) != 1 {
		c.t.Fatalf("%d pods (%v)", len(pods), err)
	}
	return pods[0].Name
}

func (c cutNode) awaitPodGone(name string) {
	c.t.Helper()
	labtest.Eventually(c.t, patience, func(ctx context.Context) (bool, string) {
		_, err := c.Client().CoreV1().Pods(trainingNamespace).Get(ctx, name, metav1.GetOptions{})
		return client.IgnoreNotFound(err) == nil && err != nil, "the job's pod is there"
	})
}

// awaitSlices waits until the pod is bound and carries those slices.
func (c cutNode) awaitSlices(namespace, name, want string) {
	c.t.Helper()
	awaitNode(c.t, c.Lab, namespace, name)
	pod, err := c.Client().CoreV1().Pods(namespace).Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	if got := pod.Annotations[v1alpha1.AnnotationInstances]; got != want {
		c.t.Errorf("pod %s carries %q, want %q", name, got, want)
	}
}
