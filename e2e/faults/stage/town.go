package stage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/host"
)

const (
	// Online is the namespace of the service, Training that of the jobs.
	Online   = "serving"
	Training = "research"
	// Service is the service, and its LendingPolicy.
	Service = "chat"
	// GPU is what is lent.
	GPU = "nvidia.com/gpu"
	// GPUsPerReplica is what one of the service's pods has.
	GPUsPerReplica = 4
	// MaxGrace is the lender's.
	MaxGrace = 3 * time.Second
	// LeaseDuration is how long a broker leads that nobody hears of.
	LeaseDuration = 3 * time.Second

	queue       = "default"
	gpusPerNode = 8
)

// brokerConfig is a broker for whom seconds are what minutes are elsewhere.
const brokerConfig = `apiVersion: ebbtide.dev/v1alpha1
kind: BrokerConfiguration
interval: 500ms
prometheus: {url: %q, timeout: 2s}
signals: {youngReplica: 1s, stableWindow: 1s, panicWindow: 1s, forecast: false}
ledger: {path: %q}
http: {bindAddress: %q}
metrics: {bindAddress: "0"}
healthProbe: {bindAddress: %q}
leaderElection: {enabled: true, leaseDuration: %s, renewDeadline: 2s, retryPeriod: 500ms}
client: {qps: 500, burst: 1000}
policy: {staleAfter: 5s, unknownGrace: 10s, unknownStep: 2s, minimumLoan: 1s, evictionBudget: 1000, flapBudget: 1000}
`

// Config says what the town is made of.
type Config struct {
	// BinDir has the lab's programs, the broker and the scheduler with failpoints.
	BinDir string
	// Dir is kept; empty: a temporary folder.
	Dir string
	// Nodes have 8 GPUs each, all of them the service's tenant's.
	Nodes int
	// Through is what the broker and the scheduler reach the API server through; nil: nothing.
	Through func(lab.Env) (server string, ca []byte, err error)
	// Logf is told of progress; nil: nobody is.
	Logf func(format string, args ...any)
}

// Town is the lab with a service that lends and a team that borrows. It is to be used from
// one goroutine.
type Town struct {
	*lab.Lab
	// API reaches the API server as an administrator.
	API client.Client
	// Points are the programs' failpoints, by the program's name.
	Points map[string]*Points

	dial  *dial
	feed  feed
	ports host.Ports
	nodes int
}

// New starts the town. One that is returned must be closed, with an error or without.
func New(ctx context.Context, c Config) (_ *Town, err error) {
	manifests, err := deploy.Manifests()
	if err != nil {
		return nil, fmt.Errorf("render ebbtide's manifests: %w", err)
	}
	w := &Town{nodes: c.Nodes, Points: map[string]*Points{}}
	w.feed.town = w
	if w.dial, err = newDial(); err != nil {
		return nil, err
	}
	broker, scheduler := &lab.Program{Restart: true, Config: config}, &lab.Program{
		Restart: true,
		Config:  func(lab.Env) ([]byte, error) { return quick(deploy.SchedulerConfig()) },
	}
	for name, program := range map[string]*lab.Program{lab.Broker: broker, lab.Scheduler: scheduler} {
		addr, err := w.ports.Next()
		if err != nil {
			return w, err
		}
		w.Points[name] = &Points{addr: addr}
		program.Environ, program.Through = []string{"GOFAIL_HTTP=" + addr}, c.Through
	}
	opts := lab.Options{
		BinDir: c.BinDir, Dir: c.Dir, Manifests: [][]byte{manifests}, Logf: c.Logf,
		SDURL: w.dial.url(), ScrapeInterval: time.Second, Broker: broker, Scheduler: scheduler,
	}
	for i := range c.Nodes {
		opts.Nodes = append(opts.Nodes, lab.NodeSpec{Name: NodeName(i), GPUs: gpusPerNode})
	}
	if w.Lab, err = lab.Start(ctx, opts); err != nil {
		return w, err
	}
	w.dial.follow(w.Client())
	if w.API, err = lab.TypedClient(w.Config()); err != nil {
		return w, err
	}
	return w, w.settle(ctx)
}

// NodeName is the name of a node, counted from 0.
func NodeName(i int) string { return fmt.Sprintf("gpu-%d", i) }

// quick is a scheduler's configuration with a Lease as short as the broker's.
func quick(text []byte) ([]byte, error) {
	config := map[string]any{}
	if err := yaml.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("read the scheduler's configuration: %w", err)
	}
	election, is := config["leaderElection"].(map[string]any)
	if !is {
		return nil, errors.New("the scheduler's configuration elects no leader")
	}
	election["leaseDuration"], election["renewDeadline"], election["retryPeriod"] = LeaseDuration.String(), "2s", "500ms"
	return yaml.Marshal(config)
}

func config(e lab.Env) ([]byte, error) {
	web, err := e.Listen("web")
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, brokerConfig, e.PrometheusURL, ledgerIn(e), web, e.Addr, LeaseDuration), nil
}

func ledgerIn(e lab.Env) string { return e.Dir + "/ledger.db" }

// LedgerPath is where the broker's ledger is.
func (w *Town) LedgerPath() (string, error) {
	e, err := w.Env(lab.Broker)
	return ledgerIn(e), err
}

// Close stops everything.
func (w *Town) Close() error {
	var err error
	if w.Lab != nil {
		err = w.Stop()
	}
	w.dial.close()
	return errors.Join(err, w.ports.Close())
}

// Owned is what the service's tenant has.
func (w *Town) Owned() int64 { return int64(w.nodes) * gpusPerNode }

// settle makes the tenants, the queue and the service.
func (w *Town) settle(ctx context.Context) error {
	for name, units := range map[string]int64{Online: w.Owned(), Training: 0} {
		labels := map[string]string{"team": name}
		if err := w.CreateNamespace(ctx, name, labels); err != nil {
			return err
		}
		if err := w.create(ctx, &v1alpha1.TenantQuota{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: v1alpha1.TenantQuotaSpec{
				Namespaces: &metav1.LabelSelector{MatchLabels: labels}, Cohort: "town",
				Flavors: []v1alpha1.FlavorQuota{{Name: "h100", Resource: GPU, Nominal: units}},
			},
		}); err != nil {
			return err
		}
	}
	for _, o := range []client.Object{
		&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: Training, Name: queue}}, w.deployment(), w.policy(),
	} {
		if err := w.create(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func (w *Town) create(ctx context.Context, o client.Object) error {
	if err := w.API.Create(ctx, o); err != nil {
		return fmt.Errorf("create %T %s: %w", o, o.GetName(), err)
	}
	return nil
}

func (w *Town) deployment() *appsv1.Deployment {
	labels := map[string]string{"app": Service}
	spec := podSpec(GPUsPerReplica, 1)
	spec.SchedulerName, spec.PriorityClassName = v1alpha1.SchedulerName, v1alpha1.PriorityClassOnline
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: Online, Name: Service},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
		},
	}
}

// policy lends in no time, all that it can.
func (w *Town) policy() *v1alpha1.LendingPolicy {
	return &v1alpha1.LendingPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: Online, Name: Service},
		Spec: v1alpha1.LendingPolicySpec{
			TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: Service},
			Owned:     ptr.To(w.Owned()),
			Signals:   []v1alpha1.Signal{{Profile: "vllm", Slots: Slots}},
			LowWater:  "30%", HighWater: "70%",
			Dwell:    &metav1.Duration{Duration: time.Second},
			Cooldown: &metav1.Duration{Duration: time.Second},
			Behavior: &v1alpha1.Behavior{Lend: &autoscalingv2.HPAScalingRules{
				StabilizationWindowSeconds: ptr.To[int32](0),
				Policies:                   []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 1}},
			}},
			Headroom: v1alpha1.Headroom{Warm: ptr.To[int64](0)},
			Reclaim:  v1alpha1.Reclaim{MaxGrace: metav1.Duration{Duration: MaxGrace}},
		},
	}
}

func podSpec(gpus, grace int64) corev1.PodSpec {
	units := corev1.ResourceList{GPU: *resource.NewQuantity(gpus, resource.DecimalSI)}
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: &grace,
		Containers: []corev1.Container{{
			Name: "main", Image: "registry.invalid/none",
			Resources: corev1.ResourceRequirements{Limits: units, Requests: units},
		}},
	}
}

// Move gives the service that many replicas, as an autoscaler would, and these requests, all
// together.
func (w *Town) Move(ctx context.Context, replicas int32, requests float64) error {
	w.dial.set(requests)
	_, err := w.Client().AppsV1().Deployments(Online).UpdateScale(ctx, Service, &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: Online, Name: Service},
		Spec:       autoscalingv1.ScaleSpec{Replicas: replicas},
	}, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("scale the service to %d: %w", replicas, err)
	}
	return nil
}

// Turn takes some jobs away and brings others, so that there are as many as ever.
func (w *Town) Turn(ctx context.Context, random *rand.Rand) error { return w.feed.turn(ctx, random) }
