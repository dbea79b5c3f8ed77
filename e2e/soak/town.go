package soak

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/bench"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
)

const (
	resourceGPU  = "nvidia.com/gpu"
	gpusPerNode  = 8
	labelService = "service"
	cohort       = "lab"
	queue        = "default"
	ledgerFile   = "ledger.db"
)

// flavors are the two halves of the cluster, by the product of their nodes.
var flavors = map[string]string{"h100": lab.DefaultProduct, "a100": "NVIDIA-A100-SXM4-80GB"}

// services own the cluster. Those of one flavor have replicas of one size: what they
// promised each other would otherwise not fit beside each other.
var services = []service{
	{name: "chat", flavor: "h100", gpus: 8, share: 0.5, usual: 0.15},
	{name: "code", flavor: "h100", gpus: 8, share: 0.5, usual: 0.2},
	{name: "embed", flavor: "a100", gpus: 2, share: 0.4, usual: 0.2},
	{name: "rank", flavor: "a100", gpus: 2, share: 0.6, usual: 0.25},
}

// service is one that lends, of a tenant of the same name.
type service struct {
	name, flavor string
	gpus         int64   // of each replica
	share        float64 // of its flavor's nodes
	usual        float64 // load, as a share of what it owns
}

// ownNodes of the first flavor are a borrower's own, and no service's.
const ownNodes = 1

// replicas is how many the service owns room for.
func (s service) replicas(c Config) int64 {
	nodes := int64(c.Nodes / 2)
	if s.flavor == "h100" {
		nodes -= ownNodes
	}
	return int64(float64(nodes*gpusPerNode)*s.share) / s.gpus
}

// borrowers are the research teams; the first has units of its own.
var borrowers = []string{"vision", "language", "speech"}

// town is a running lab with the tenants in it.
type town struct {
	*lab.Lab
	config Config
	api    client.Client
}

// newTown starts the lab. A town that is returned must be stopped, with an error or
// without.
func newTown(ctx context.Context, c Config, d *dial) (*town, error) {
	manifests, err := deploy.Manifests()
	if err != nil {
		return nil, fmt.Errorf("render ebbtide's manifests: %w", err)
	}
	var nodes []lab.NodeSpec
	for i := range c.Nodes {
		product := flavors["h100"]
		if i >= c.Nodes/2 {
			product = flavors["a100"]
		}
		nodes = append(nodes, lab.NodeSpec{
			Name: fmt.Sprintf("gpu-%03d", i), GPUs: gpusPerNode, Labels: map[string]string{lab.LabelProduct: product},
		})
	}
	l, err := lab.Start(ctx, lab.Options{
		Dir: c.Dir, Nodes: nodes, Manifests: [][]byte{manifests},
		Logf:  func(format string, args ...any) { fmt.Fprintf(c.Log, format+"\n", args...) },
		SDURL: d.targetsURL(), ScrapeInterval: time.Second,
		// One that was killed would otherwise wait for its own lease to run out.
		Scheduler: &lab.Program{Config: bench.Unlimited(deploy.SchedulerConfig())},
		Broker:    &lab.Program{Config: c.broker, Restart: true},
	})
	if err != nil {
		return nil, err
	}
	w := &town{Lab: l, config: c}
	d.follow(l.Client())
	if w.api, err = lab.TypedClient(l.Config()); err != nil {
		return w, err
	}
	return w, w.tenants(ctx)
}

// broker returns the broker's configuration: its policy in the time of the soak, what is
// about processes in real time.
func (c Config) broker(e lab.Env) ([]byte, error) {
	web, err := e.Listen("web")
	if err != nil {
		return nil, err
	}
	budget, minimum := c.Budget, c.real(c.MinimumLoan)
	if c.Unguarded {
		budget, minimum = 1000, 0 // more often than there are chances
	}
	return fmt.Appendf(nil, `apiVersion: ebbtide.dev/v1alpha1
kind: BrokerConfiguration
interval: 500ms
prometheus: {url: %q, timeout: 2s}
ledger: {path: %q}
signals: {youngReplica: 1s, stableWindow: 1s, panicWindow: 1s, forecast: false}
http: {bindAddress: %q}
metrics: {bindAddress: "0"}
healthProbe: {bindAddress: %q}
leaderElection: {enabled: true, leaseDuration: 3s, renewDeadline: 2s, retryPeriod: 500ms}
client: {qps: 1000, burst: 2000}
policy: {staleAfter: 5s, unknownGrace: 10s, unknownStep: 2s, startWithin: 30s, restartCost: %s, minimumLoan: %s, evictionBudget: %d, evictionWindow: %s, flapBudget: 0}
`, e.PrometheusURL, e.Dir+"/"+ledgerFile, web, e.Addr, c.real(time.Minute), minimum, budget, c.real(c.Window)), nil
}

// tenants makes the tenants, their namespaces and queues.
func (w *town) tenants(ctx context.Context) error {
	for _, s := range services {
		if err := w.tenant(ctx, s.name, map[string]int64{s.flavor: s.replicas(w.config) * s.gpus}); err != nil {
			return err
		}
	}
	for i, team := range borrowers {
		nominal := map[string]int64{"h100": 0, "a100": 0}
		if i == 0 {
			nominal["h100"] = ownNodes * gpusPerNode
		}
		if err := w.tenant(ctx, team, nominal); err != nil {
			return err
		}
		if err := w.create(ctx, &v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: queue}}); err != nil {
			return err
		}
	}
	return nil
}

func (w *town) tenant(ctx context.Context, name string, nominal map[string]int64) error {
	labels := map[string]string{"team": name}
	if err := w.CreateNamespace(ctx, name, labels); err != nil {
		return err
	}
	quota := &v1alpha1.TenantQuota{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.TenantQuotaSpec{Namespaces: &metav1.LabelSelector{MatchLabels: labels}, Cohort: cohort},
	}
	for _, flavor := range []string{"a100", "h100"} {
		if units, has := nominal[flavor]; has {
			quota.Spec.Flavors = append(quota.Spec.Flavors, v1alpha1.FlavorQuota{
				Name: flavor, Resource: resourceGPU, Nominal: units,
				NodeSelector: map[string]string{lab.LabelProduct: flavors[flavor]},
			})
		}
	}
	return w.create(ctx, quota)
}

func (w *town) create(ctx context.Context, o client.Object) error {
	if err := w.api.Create(ctx, o); err != nil {
		return fmt.Errorf("create %T %s: %w", o, o.GetName(), err)
	}
	return nil
}

// open starts the services with their usual replicas.
func (w *town) open(ctx context.Context) error {
	for i := range services {
		if err := w.enter(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// enter makes a service and its policy.
func (w *town) enter(ctx context.Context, i int) error {
	if err := w.create(ctx, w.deployment(services[i])); err != nil {
		return err
	}
	return w.create(ctx, w.policy(services[i]))
}

// leave removes a service and its policy, which one first is drawn by the caller.
func (w *town) leave(ctx context.Context, i int, policyFirst bool) error {
	s := services[i]
	objects := []client.Object{w.deployment(s), w.policy(s)}
	if policyFirst {
		objects[0], objects[1] = objects[1], objects[0]
	}
	for _, o := range objects {
		if err := w.api.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete %T %s: %w", o, o.GetName(), err)
		}
	}
	return nil
}

func (w *town) deployment(s service) *appsv1.Deployment {
	labels := map[string]string{labelService: s.name}
	spec := podSpec(s.flavor, s.gpus, 1)
	spec.SchedulerName, spec.PriorityClassName = v1alpha1.SchedulerName, v1alpha1.PriorityClassOnline
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: s.name},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{kubelet.AnnotationModelLoad: "500ms"}},
				Spec:       spec,
			},
		},
	}
}

func (w *town) policy(s service) *v1alpha1.LendingPolicy {
	c := w.config
	cooldown := c.real(c.Cooldown)
	if c.Unguarded {
		cooldown = 0
	}
	return &v1alpha1.LendingPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: s.name},
		Spec: v1alpha1.LendingPolicySpec{
			TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: s.name},
			Owned:     ptr.To(s.replicas(c) * s.gpus),
			Signals:   []v1alpha1.Signal{{Profile: "vllm", Slots: slots}},
			LowWater:  "50%", HighWater: "80%",
			Dwell:    &metav1.Duration{Duration: c.real(c.Dwell)},
			Cooldown: &metav1.Duration{Duration: cooldown},
			Behavior: &v1alpha1.Behavior{Lend: &autoscalingv2.HPAScalingRules{
				StabilizationWindowSeconds: ptr.To[int32](0),
				Policies:                   []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 50, PeriodSeconds: 1}},
			}},
			Headroom: v1alpha1.Headroom{Warm: ptr.To(s.gpus)},
			Reclaim:  v1alpha1.Reclaim{MaxGrace: metav1.Duration{Duration: c.MaxGrace}},
		},
	}
}

// scale sets a service's replicas through its scale subresource. A service that is away
// has none.
func (w *town) scale(ctx context.Context, i int, replicas int64) error {
	s := services[i]
	_, err := w.Client().AppsV1().Deployments(s.name).UpdateScale(ctx, s.name, &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: s.name},
		Spec:       autoscalingv1.ScaleSpec{Replicas: int32(replicas)},
	}, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("scale %s to %d: %w", s.name, replicas, err)
	}
	return nil
}

// podSpec is a pod of one container that asks for GPUs of a flavor.
func podSpec(flavor string, gpus, graceSeconds int64) corev1.PodSpec {
	units := corev1.ResourceList{resourceGPU: *resource.NewQuantity(gpus, resource.DecimalSI)}
	return corev1.PodSpec{
		NodeSelector:                  map[string]string{lab.LabelProduct: flavors[flavor]},
		TerminationGracePeriodSeconds: &graceSeconds,
		AutomountServiceAccountToken:  ptr.To(false),
		EnableServiceLinks:            ptr.To(false),
		Containers: []corev1.Container{{
			Name: "main", Image: "registry.invalid/none",
			Resources: corev1.ResourceRequirements{Limits: units, Requests: units},
		}},
	}
}
