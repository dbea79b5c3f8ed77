package scenarios

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/crds"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// crowded is how long the scheduler waits for the broker here, where many things run at once.
const crowded = 15 * time.Second

// newArchipelago starts a cluster with the operators of all kinds, and an island for each
// kind: a node, a flavor of its own, a service that lends all of it, and a tenant that
// trains. So they can be looked at side by side, and do not meet.
func newArchipelago(t *testing.T) *town {
	t.Helper()
	opts := lab.Options{
		Operators: crds.Projects(), Broker: brokerProgram(),
		KubeScheduler: true, // of pods without units that say nothing else, as a RayJob's submitter
		Scheduler:     patientScheduler(crowded),
	}
	for _, kind := range kindsOfJobs {
		opts.Nodes = append(opts.Nodes, lab.NodeSpec{Name: "gpu-" + kind.name, GPUs: kind.island(), Labels: map[string]string{"island": kind.name}})
	}
	w := raise(t, 0, opts)
	w.late = crowded
	w.makers = []schema.GroupVersionResource{
		{Group: "batch", Version: "v1", Resource: "jobs"},
		{Group: "apps", Version: "v1", Resource: "statefulsets"},
		{Group: "jobset.x-k8s.io", Version: "v1alpha2", Resource: "jobsets"},
		{Group: "ray.io", Version: "v1", Resource: "rayclusters"},
	}
	w.audit()
	return w
}

// island is a kind of job with a node to itself.
type island struct {
	town
	kind kindOfJob
}

// on is the kind's island, for a test of its own.
func (w *town) on(t *testing.T, kind kindOfJob) *island {
	t.Helper()
	i := &island{town: *w, kind: kind}
	i.t = t
	return i
}

// settle makes the island's tenants, its queue, and its service, two replicas of which
// want all of it.
func (i *island) settle() {
	i.t.Helper()
	for namespace, nominal := range map[string]int64{i.service(): i.kind.island(), i.kind.name: 0} {
		if err := i.CreateNamespace(i.t.Context(), namespace, map[string]string{"team": namespace}); err != nil {
			i.t.Fatal(err)
		}
		i.create(&v1alpha1.TenantQuota{
			ObjectMeta: metav1.ObjectMeta{Name: namespace},
			Spec: v1alpha1.TenantQuotaSpec{
				Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": namespace}},
				Cohort:     "island-" + i.kind.name,
				Flavors: []v1alpha1.FlavorQuota{{
					Name: "h100-" + i.kind.name, Resource: gpu, Nominal: nominal, NodeSelector: map[string]string{"island": i.kind.name},
				}},
			},
		})
	}
	i.create(&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: i.kind.name, Name: "default"}})
	chat := service(2, i.kind.island()/2)
	chat.Namespace = i.service()
	chat.Spec.Template.Spec.NodeSelector = map[string]string{"island": i.kind.name}
	i.create(chat)
	policy := lends(i.kind.island())
	policy.Namespace = i.service()
	// It has nothing to do: what asks units back is replicas that are to be placed.
	policy.Spec.Signals = []v1alpha1.Signal{{Query: "vector(0)", LowWater: "1", HighWater: "2"}}
	i.create(policy)
	i.online(2)
}

// service is the namespace of the island's service.
func (i *island) service() string { return "serving-" + i.kind.name }

// want sets how many replicas the service is to have.
func (i *island) want(replicas int32) {
	i.t.Helper()
	_, err := i.Client().AppsV1().Deployments(i.service()).UpdateScale(i.t.Context(), "chat", &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: i.service(), Name: "chat"},
		Spec:       autoscalingv1.ScaleSpec{Replicas: replicas},
	}, metav1.UpdateOptions{})
	if err != nil {
		i.t.Fatalf("scale the service to %d: %v", replicas, err)
	}
}

// online waits until so many replicas of the service have a node.
func (i *island) online(replicas int) {
	i.t.Helper()
	i.awaitBound(i.service(), replicas)
}

// submit creates the kind's objects, as a user would.
func (i *island) submit() {
	i.t.Helper()
	manifest, err := os.ReadFile("testdata/kinds/" + i.kind.name + ".yaml")
	if err != nil {
		i.t.Fatal(err)
	}
	if err := i.Apply(i.t.Context(), manifest); err != nil {
		i.t.Fatal(err)
	}
}

func (i *island) object(ctx context.Context) (*unstructured.Unstructured, error) {
	return i.Dynamic().Resource(i.kind.resource).Namespace(i.kind.name).Get(ctx, i.kind.object, metav1.GetOptions{})
}

// pods of the island's training.
func (i *island) pods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := i.Client().CoreV1().Pods(i.kind.name).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// holders are those of them that hold units, whatever they do with them.
func (i *island) holders(ctx context.Context) ([]corev1.Pod, error) {
	pods, err := i.pods(ctx)
	var hold []corev1.Pod
	for _, p := range pods {
		if p.Spec.NodeName != "" && !podEnded(&p) && unitsIn(&p) > 0 {
			hold = append(hold, p)
		}
	}
	return hold, err
}

func unitsIn(p *corev1.Pod) (units int64) {
	for _, c := range p.Spec.Containers {
		n := c.Resources.Limits[gpu]
		units += n.Value()
	}
	return units
}

func podEnded(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// openLoans are the island's.
func (i *island) openLoans(ctx context.Context) ([]v1alpha1.Loan, error) {
	var list v1alpha1.LoanList
	err := i.api.List(ctx, &list, client.InNamespace(i.kind.name))
	return list.Items, err
}

// runs waits until exactly so many pods with units run, and returns them.
func (i *island) runs(want int) (running []corev1.Pod) {
	i.t.Helper()
	labtest.Eventually(i.t, patience, func(ctx context.Context) (bool, string) {
		hold, err := i.holders(ctx)
		running = nil
		for _, p := range hold {
			if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
				running = append(running, p)
			}
		}
		return err == nil && len(running) == want && len(hold) == want,
			fmt.Sprintf("%d pods hold units, of which %d run; want %d (%v)\n%s", len(hold), len(running), want, err, i.story(ctx))
	})
	return running
}

// gone waits until no pod holds units, and no loan is open.
func (i *island) gone() {
	i.t.Helper()
	labtest.Eventually(i.t, patience, func(ctx context.Context) (bool, string) {
		hold, err := i.holders(ctx)
		if err != nil {
			return false, err.Error()
		}
		loans, err := i.openLoans(ctx)
		return err == nil && len(hold) == 0 && len(loans) == 0,
			fmt.Sprintf("%d pods hold units, %d loans are open (%v)\n%s", len(hold), len(loans), err, i.story(ctx))
	})
}

// story is what there is to see, for the case that something does not happen.
func (i *island) story(ctx context.Context) string {
	var out bytes.Buffer
	pods, _ := i.pods(ctx)
	for _, p := range pods {
		fmt.Fprintf(&out, "pod %s: %s on %q, %d units, going %t: %s\n", p.Name, p.Status.Phase, p.Spec.NodeName, unitsIn(&p), p.DeletionTimestamp != nil, scheduled(&p).Message)
	}
	loans, _ := i.openLoans(ctx)
	for _, l := range loans {
		fmt.Fprintf(&out, "loan %s for %s: %d units, sheds %v, by %v, %v\n", l.Name, l.Spec.Job.Name, v1alpha1.Units(l.Held()), l.Status.Shedding, l.Status.ReclaimBy, l.Status.Conditions)
	}
	var answer struct {
		Verdicts []struct{ Subject, Reason, Message string }
	}
	if err := i.ask(ctx, "/verdicts", &answer); err == nil {
		for _, v := range answer.Verdicts {
			if bytes.Contains([]byte(v.Subject), []byte(i.kind.name)) {
				fmt.Fprintf(&out, "verdict on %s: %s: %s\n", v.Subject, v.Reason, v.Message)
			}
		}
	}
	return out.String()
}
