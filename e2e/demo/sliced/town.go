package sliced

import (
	"context"
	"fmt"
	"math"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/engine"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/mig"
)

const (
	servingTeam = "serving"
	service     = "chat"
	cohort      = "lab"
	queue       = "default"
	gpuFlavor   = "a100"
)

// size is a profile that is lent: its resource, its flavor, and what it takes of a card.
type size struct {
	flavor          string
	resource        corev1.ResourceName
	profile         mig.ProfileID
	compute, memory int64
}

// The slices that serve, and what four of them are made into.
var (
	small = size{flavor: "a100-1g", resource: "nvidia.com/mig-1g.5gb", profile: 0, compute: 1, memory: 1}
	large = size{flavor: "a100-4g", resource: "nvidia.com/mig-4g.20gb", profile: 3, compute: 4, memory: 4}
)

// borrowers are the research teams, what slices their jobs ask for, and the share of the
// cards that each may borrow: the team of small jobs would leave nothing idle otherwise.
var borrowers = []borrower{
	{team: "speech", size: small, share: 0.25, waiting: 24},
	{team: "vision", size: large, share: 1, waiting: 16},
}

type borrower struct {
	team  string
	size  size
	share float64
	// waiting is how many jobs wait at any time.
	waiting int
}

// town is a running lab with the demo's tenants in it.
type town struct {
	*lab.Lab
	config Config
	api    client.Client
	nodes  []string
}

// newTown starts the lab: control plane, Prometheus, nodes with cards and agents, and
// Ebbtide.
func newTown(ctx context.Context, c Config, targetsURL string) (*town, error) {
	manifests, err := deploy.Manifests(deploy.AgentAccess)
	if err != nil {
		return nil, fmt.Errorf("render ebbtide's manifests: %w", err)
	}
	nodes, names := make([]lab.NodeSpec, c.Nodes), make([]string, c.Nodes)
	for i := range nodes {
		names[i] = fmt.Sprintf("mig-%02d", i)
		nodes[i] = lab.NodeSpec{Name: names[i], Cards: &lab.Cards{
			Count: cardsPerNode, Board: board, Layout: installed,
		}}
	}
	l, err := lab.Start(ctx, lab.Options{
		Dir: c.Dir, BinDir: c.Programs,
		Logf:      func(format string, args ...any) { fmt.Fprintf(c.Log, format+"\n", args...) },
		Nodes:     nodes,
		Manifests: [][]byte{manifests},
		SDURL:     targetsURL, ScrapeInterval: time.Second,
		Scheduler: &lab.Program{Config: func(lab.Env) ([]byte, error) { return deploy.SchedulerConfig(), nil }},
		Broker:    &lab.Program{Config: c.broker},
		Agent:     &lab.Program{Restart: true},
	})
	if err != nil {
		return nil, err
	}
	w := &town{Lab: l, config: c, nodes: names}
	if w.api, err = lab.TypedClient(l.Config()); err != nil {
		return w, err
	}
	return w, w.settle(ctx)
}

// recordFile is where the broker writes its decisions, in its own folder.
const (
	recordFile = "decisions.jsonl"
	ledgerFile = "ledger.db"
)

// broker returns the broker's configuration: its policy in the time of the day, what is
// about processes in real time.
func (c Config) broker(e lab.Env) ([]byte, error) {
	web, err := e.Listen("web")
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `apiVersion: ebbtide.dev/v1alpha1
kind: BrokerConfiguration
interval: 1s
prometheus: {url: %[1]q, timeout: 2s}
ledger: {path: %[2]q}
signals: {youngReplica: 1s, stableWindow: 1s, panicWindow: 1s, forecast: false}
http: {bindAddress: %[3]q}
metrics: {bindAddress: "0"}
healthProbe: {bindAddress: %[4]q}
client: {qps: 1000, burst: 2000}
policy: {staleAfter: 5s, unknownGrace: 20s, unknownStep: 5s, minimumLoan: %[6]s, evictionBudget: 4, evictionWindow: %[7]s, flapWindow: %[7]s, restartCost: %[8]s, startWithin: 30s}
record: {path: %[5]q, all: true}
reshape: {assumedChange: 1s, assumedUndo: 500ms}
`, e.PrometheusURL, e.Dir+"/"+ledgerFile, web, e.Addr, e.Dir+"/"+recordFile,
		c.compressed(5*time.Minute), c.compressed(time.Hour), c.compressed(time.Minute)), nil
}

// settle makes the tenants, their namespaces, queues and users, and the service.
func (w *town) settle(ctx context.Context) error {
	if err := w.tenant(ctx, servingTeam, w.config.cards(), nil); err != nil {
		return err
	}
	for _, b := range borrowers {
		limit := int64(math.Ceil(b.share * float64(w.config.cards())))
		if err := w.tenant(ctx, b.team, 0, &limit); err != nil {
			return err
		}
		for _, o := range []client.Object{
			&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: b.team, Name: queue}},
			&rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Namespace: b.team, Name: "team"},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
				Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: b.team}},
			},
		} {
			if err := w.create(ctx, o); err != nil {
				return err
			}
		}
	}
	if err := w.create(ctx, w.deployment()); err != nil {
		return err
	}
	return w.create(ctx, w.policy())
}

func (w *town) create(ctx context.Context, o client.Object) error {
	if err := w.api.Create(ctx, o); err != nil {
		return fmt.Errorf("create %T %s: %w", o, o.GetName(), err)
	}
	return nil
}

// tenant makes a team with a quota in whole cards, on which both sizes draw.
func (w *town) tenant(ctx context.Context, team string, nominal int64, limit *int64) error {
	labels := map[string]string{"team": team}
	if err := w.CreateNamespace(ctx, team, labels); err != nil {
		return err
	}
	flavors := []v1alpha1.FlavorQuota{{Name: gpuFlavor, Resource: "nvidia.com/gpu", Nominal: nominal, BorrowingLimit: limit}}
	for _, s := range []size{small, large} {
		flavors = append(flavors, v1alpha1.FlavorQuota{
			Name: s.flavor, Resource: string(s.resource), SliceOf: gpuFlavor,
			Slices: &v1alpha1.GPUSlices{Compute: s.compute, Memory: s.memory},
		})
	}
	return w.create(ctx, &v1alpha1.TenantQuota{
		ObjectMeta: metav1.ObjectMeta{Name: team},
		Spec: v1alpha1.TenantQuotaSpec{
			Namespaces: &metav1.LabelSelector{MatchLabels: labels}, Cohort: cohort, Flavors: flavors,
		},
	})
}

func (w *town) policy() *v1alpha1.LendingPolicy {
	c := w.config
	pause := metav1.Duration{Duration: c.compressed(5 * time.Minute)}
	return &v1alpha1.LendingPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: servingTeam, Name: service},
		Spec: v1alpha1.LendingPolicySpec{
			TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: service},
			Owned:     ptr.To(c.slices()),
			Signals:   []v1alpha1.Signal{{Profile: "vllm", Slots: int32(model().Slots)}},
			LowWater:  fmt.Sprintf("%d%%", c.LowWater), HighWater: fmt.Sprintf("%d%%", c.HighWater),
			Dwell: &pause, Cooldown: &pause,
			Behavior: &v1alpha1.Behavior{Lend: c.lendSteps()},
			Headroom: v1alpha1.Headroom{Warm: ptr.To(c.Warm)},
			Reclaim:  v1alpha1.Reclaim{MaxGrace: metav1.Duration{Duration: c.MaxGrace}},
			MIG: &v1alpha1.MIGPolicy{
				Pinned: pinnedPerCard, Reshape: v1alpha1.ReshapeIdle,
				MinTrough: &metav1.Duration{Duration: c.compressed(c.MinTrough)},
			},
		},
	}
}

// lendSteps is the default of 10% in two minutes of the day, in whole seconds.
func (c Config) lendSteps() *autoscalingv2.HPAScalingRules {
	inOneSecond := math.Ceil(10 * float64(time.Second) / float64(c.compressed(2*time.Minute)))
	return &autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{
		{Type: autoscalingv2.PercentScalingPolicy, Value: int32(min(max(inOneSecond, 1), 100)), PeriodSeconds: 1},
	}}
}

// model is a replica that fits on a small slice.
func model() engine.Model {
	m := engine.DefaultModel("small")
	m.Slots = 8
	return m
}

// serviceSelector chooses the replicas' pods.
const serviceSelector = "app=" + service

func (w *town) deployment() *appsv1.Deployment {
	labels := map[string]string{"app": service}
	spec := podSpec(small, 1)
	spec.SchedulerName = v1alpha1.SchedulerName
	spec.PriorityClassName = v1alpha1.PriorityClassOnline
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: servingTeam, Name: service},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(0)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      labels,
					Annotations: map[string]string{kubelet.AnnotationModelLoad: w.config.ModelLoad.String()},
				},
				Spec: spec,
			},
		},
	}
}

// podSpec is a pod of one container that asks for one slice.
func podSpec(s size, graceSeconds int64) corev1.PodSpec {
	units := corev1.ResourceList{s.resource: resource.MustParse("1")}
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: &graceSeconds,
		AutomountServiceAccountToken:  ptr.To(false),
		EnableServiceLinks:            ptr.To(false),
		Containers: []corev1.Container{{
			Name: "main", Image: "registry.invalid/none",
			Resources: corev1.ResourceRequirements{Limits: units, Requests: units},
		}},
	}
}

// scale sets the service's replicas, as an autoscaler would.
func (w *town) scale(ctx context.Context, replicas int64) error {
	_, err := w.Client().AppsV1().Deployments(servingTeam).UpdateScale(ctx, service, &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: servingTeam, Name: service},
		Spec:       autoscalingv1.ScaleSpec{Replicas: int32(replicas)},
	}, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("scale %s to %d: %w", service, replicas, err)
	}
	return nil
}

// awaitReady waits until exactly that many replicas are ready.
func (w *town) awaitReady(ctx context.Context, replicas int64) error {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		d, err := w.Client().AppsV1().Deployments(servingTeam).Get(ctx, service, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("read the service: %w", err)
		}
		if int64(d.Status.ReadyReplicas) == replicas && int64(d.Status.Replicas) == replicas {
			return nil
		}
		select {
		case <-t.C:
		case <-w.Failed():
			return w.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for %d ready replicas, %d are: %w", replicas, d.Status.ReadyReplicas, context.Cause(ctx))
		}
	}
}
