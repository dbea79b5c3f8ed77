package stage

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
)

const (
	// ServingTeam has the service, and Queue is that of each team that borrows.
	ServingTeam = "serving"
	Service     = "chat"
	Queue       = "default"
	// ServiceSelector chooses the replicas' pods.
	ServiceSelector = "app=" + Service

	cohort = "lab"
	// resourceGPU is what tenants have quotas in.
	resourceGPU = "nvidia.com/gpu"

	// recordFile is where the broker writes its decisions, in its own folder.
	recordFile = "decisions.jsonl"
	ledgerFile = "ledger.db"
)

// Town is a running lab with a demo's tenants in it.
type Town struct {
	*lab.Lab
	config Config
	api    client.Client
}

// NewTown starts a lab of the nodes that opts has: control plane, Prometheus and Ebbtide;
// with agents if opts has one. Broker is what its configuration says beside what is the same
// in all demos. A town that is returned with an error is to be stopped all the same.
func NewTown(ctx context.Context, c Config, opts lab.Options, broker string) (*Town, error) {
	var components []string
	if opts.Agent != nil {
		components = append(components, deploy.AgentAccess)
	}
	manifests, err := deploy.Manifests(components...)
	if err != nil {
		return nil, fmt.Errorf("render ebbtide's manifests: %w", err)
	}
	opts.Dir, opts.BinDir, opts.ScrapeInterval = c.Dir, c.Programs, time.Second
	opts.Logf = func(format string, args ...any) { fmt.Fprintf(c.Log, format+"\n", args...) }
	opts.Manifests = [][]byte{manifests}
	opts.Scheduler = &lab.Program{Config: func(lab.Env) ([]byte, error) { return deploy.SchedulerConfig(), nil }}
	opts.Broker = &lab.Program{Config: func(e lab.Env) ([]byte, error) {
		text, err := c.broker(e)
		return append(text, broker...), err
	}}
	l, err := lab.Start(ctx, opts)
	if err != nil {
		return nil, err
	}
	t := &Town{Lab: l, config: c}
	t.api, err = lab.TypedClient(l.Config())
	return t, err
}

// broker returns the broker's configuration: its policy in the time of the day,
// what is about processes in real time.
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
`, e.PrometheusURL, e.Dir+"/"+ledgerFile, web, e.Addr, e.Dir+"/"+recordFile,
		c.Compressed(5*time.Minute), c.Compressed(time.Hour), c.Compressed(time.Minute)), nil
}

// Whole is a team's quota in whole GPUs.
func Whole(flavor string, nominal int64, limit *int64) v1alpha1.FlavorQuota {
	return v1alpha1.FlavorQuota{Name: flavor, Resource: resourceGPU, Nominal: nominal, BorrowingLimit: limit}
}

// Tenant makes a team with a namespace of its name and its quota.
func (t *Town) Tenant(ctx context.Context, team string, flavors ...v1alpha1.FlavorQuota) error {
	labels := map[string]string{"team": team}
	if err := t.CreateNamespace(ctx, team, labels); err != nil {
		return err
	}
	return t.create(ctx, &v1alpha1.TenantQuota{
		ObjectMeta: metav1.ObjectMeta{Name: team},
		Spec: v1alpha1.TenantQuotaSpec{
			Namespaces: &metav1.LabelSelector{MatchLabels: labels}, Cohort: cohort, Flavors: flavors,
		},
	})
}

// Borrower makes a tenant with a queue, whose user may submit jobs.
func (t *Town) Borrower(ctx context.Context, team string, flavors ...v1alpha1.FlavorQuota) error {
	if err := t.Tenant(ctx, team, flavors...); err != nil {
		return err
	}
	for _, o := range []client.Object{
		&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: Queue}},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "team"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: team}},
		},
	} {
		if err := t.create(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// User acts as the user of a team.
func (t *Town) User(team string) (kubernetes.Interface, error) {
	config, err := t.UserConfig(team)
	if err != nil {
		return nil, err
	}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", team, err)
	}
	return c, nil
}

func (t *Town) create(ctx context.Context, o client.Object) error {
	if err := t.api.Create(ctx, o); err != nil {
		return fmt.Errorf("create %T %s: %w", o, o.GetName(), err)
	}
	return nil
}

// Policy is that of a service which owns so many units and serves so many requests with each
// replica at once.
func (c Config) Policy(owned int64, slots int) *v1alpha1.LendingPolicy {
	pause := metav1.Duration{Duration: c.Compressed(5 * time.Minute)}
	return &v1alpha1.LendingPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: ServingTeam, Name: Service},
		Spec: v1alpha1.LendingPolicySpec{
			TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: Service},
			Owned:     &owned,
			Signals:   []v1alpha1.Signal{{Profile: "vllm", Slots: int32(slots)}},
			LowWater:  fmt.Sprintf("%d%%", c.LowWater), HighWater: fmt.Sprintf("%d%%", c.HighWater),
			Dwell: &pause, Cooldown: &pause,
			Behavior: &v1alpha1.Behavior{Lend: c.lendSteps()},
			Headroom: v1alpha1.Headroom{Warm: ptr.To(c.Warm)},
			Reclaim:  v1alpha1.Reclaim{MaxGrace: metav1.Duration{Duration: c.MaxGrace}},
		},
	}
}

// Serve makes the service, without replicas, of which each is to have so many units of the
// resource, and its policy.
func (t *Town) Serve(ctx context.Context, name corev1.ResourceName, units int64, policy *v1alpha1.LendingPolicy) error {
	labels := map[string]string{"app": Service}
	spec := PodSpec(name, units, 1)
	spec.SchedulerName, spec.PriorityClassName = v1alpha1.SchedulerName, v1alpha1.PriorityClassOnline
	if err := t.create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: ServingTeam, Name: Service},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(0)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      labels,
					Annotations: map[string]string{kubelet.AnnotationModelLoad: t.config.ModelLoad.String()},
				},
				Spec: spec,
			},
		},
	}); err != nil {
		return err
	}
	return t.create(ctx, policy)
}

// PodSpec is a pod of one container that asks for units of a resource.
func PodSpec(name corev1.ResourceName, count, graceSeconds int64) corev1.PodSpec {
	units := corev1.ResourceList{name: *resource.NewQuantity(count, resource.DecimalSI)}
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

// Scale sets the service's replicas through its scale subresource, as an
// autoscaler would.
func (t *Town) Scale(ctx context.Context, replicas int64) error {
	_, err := t.Client().AppsV1().Deployments(ServingTeam).UpdateScale(ctx, Service, &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: ServingTeam, Name: Service},
		Spec:       autoscalingv1.ScaleSpec{Replicas: int32(replicas)},
	}, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("scale %s to %d: %w", Service, replicas, err)
	}
	return nil
}

// AwaitReady waits until exactly that many replicas are ready.
func (t *Town) AwaitReady(ctx context.Context, replicas int64) error {
	tick := time.NewTicker(Frame / 2)
	defer tick.Stop()
	for {
		d, err := t.Client().AppsV1().Deployments(ServingTeam).Get(ctx, Service, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("read the service: %w", err)
		}
		if int64(d.Status.ReadyReplicas) == replicas && int64(d.Status.Replicas) == replicas {
			return nil
		}
		select {
		case <-tick.C:
		case <-t.Failed():
			return t.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for %d ready replicas, %d are: %w", replicas, d.Status.ReadyReplicas, context.Cause(ctx))
		}
	}
}
