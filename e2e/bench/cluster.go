package bench

import (
	"bytes"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

const (
	namespace = "bench"
	// clientRate is both schedulers' limit of requests per second, far above what
	// either makes.
	clientRate = 10000
)

// bench is a running lab with its nodes and its tenant.
type bench struct {
	config Config
	lab    *lab.Lab
	// pods speaks protobuf and has no rate limit, so that the bench itself takes
	// as little of the machine as it can.
	pods kubernetes.Interface
}

// newBench starts the lab. A bench that is returned must be stopped, with an error
// or without.
func newBench(ctx context.Context, c Config) (*bench, error) {
	manifests, err := WithoutPolicies()
	if err != nil {
		return nil, err
	}
	nodes := make([]lab.NodeSpec, c.Nodes)
	for i := range nodes {
		nodes[i] = lab.NodeSpec{Name: fmt.Sprintf("gpu-%04d", i), GPUs: gpusPerNode}
	}
	opts := lab.Options{
		BinDir: c.Programs, NoPrometheus: true, Nodes: nodes, Manifests: [][]byte{manifests},
		Logf: func(format string, args ...any) { fmt.Fprintf(c.Log, format+"\n", args...) },
	}
	l, err := lab.Start(ctx, opts)
	if err != nil {
		return nil, err
	}
	b := &bench{config: c, lab: l}
	config := l.Config()
	config.ContentType = runtime.ContentTypeProtobuf
	if b.pods, err = kubernetes.NewForConfig(config); err != nil {
		return b, fmt.Errorf("make a client: %w", err)
	}
	return b, b.settle(ctx)
}

// WithoutPolicies returns Ebbtide's manifests but for the admission policies. They
// refuse pods that ask for a GPU of any scheduler but Ebbtide, so the same pods
// could not be made for both.
func WithoutPolicies() ([]byte, error) {
	stream, err := deploy.Manifests()
	if err != nil {
		return nil, err
	}
	var kept [][]byte
	for _, document := range bytes.Split(stream, []byte("\n---\n")) {
		var object metav1.TypeMeta
		if err := yaml.Unmarshal(document, &object); err != nil {
			return nil, fmt.Errorf("read a manifest: %w", err)
		}
		switch object.Kind {
		case "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
			"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding":
		default:
			kept = append(kept, document)
		}
	}
	return bytes.Join(kept, []byte("\n---\n")), nil
}

// settle makes the tenant, whose nominal quota holds all pods, and stops what the
// rounds do without.
func (b *bench) settle(ctx context.Context) error {
	labels := map[string]string{"team": namespace}
	if err := b.lab.CreateNamespace(ctx, namespace, labels); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("register the API: %w", err)
	}
	api, err := client.New(b.lab.Config(), client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	err = api.Create(ctx, &v1alpha1.TenantQuota{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Spec: v1alpha1.TenantQuotaSpec{
			Namespaces: &metav1.LabelSelector{MatchLabels: labels},
			Flavors: []v1alpha1.FlavorQuota{{
				Name: "h100", Resource: lab.DefaultResource,
				NodeSelector: map[string]string{lab.LabelProduct: lab.DefaultProduct},
				Nominal:      int64(b.config.Nodes) * gpusPerNode,
			}},
		},
	})
	if err != nil {
		return fmt.Errorf("create the tenant: %w", err)
	}
	for _, name := range []string{lab.Kwok, lab.KubeControllerManager} {
		if err := b.lab.Part(name).Stop(); err != nil {
			return fmt.Errorf("stop %s: %w", name, err)
		}
	}
	return nil
}

// start starts a scheduler, for the first time or again.
func (b *bench) start(ctx context.Context, s scheduler) error {
	if part := b.lab.Part(string(s)); part != nil {
		return part.Restart(ctx)
	}
	var err error
	if s == stock {
		_, err = b.lab.StartKubeScheduler(ctx, lab.Program{Config: Unlimited(nil)})
	} else {
		_, err = b.lab.StartScheduler(ctx, lab.Program{Config: Unlimited(deploy.SchedulerConfig())})
	}
	return err
}

// Unlimited returns a KubeSchedulerConfiguration, which may be empty, with a client's
// rate that is never reached and without an election: there is one scheduler. It fails
// on what is no YAML.
func Unlimited(text []byte) func(lab.Env) ([]byte, error) {
	return func(lab.Env) ([]byte, error) {
		config := map[string]any{}
		if err := yaml.Unmarshal(text, &config); err != nil {
			return nil, fmt.Errorf("read a KubeSchedulerConfiguration: %w", err)
		}
		config["clientConnection"] = map[string]any{"qps": clientRate, "burst": clientRate}
		config["leaderElection"] = map[string]any{"leaderElect": false}
		return yaml.Marshal(config)
	}
}

// podFor returns the pod that a scheduler is to place. Name and schedulerName are
// all that differs.
func podFor(s scheduler, name string) *corev1.Pod {
	schedulerName := corev1.DefaultSchedulerName
	if s == ebbtide {
		schedulerName = v1alpha1.SchedulerName
	}
	units := corev1.ResourceList{lab.DefaultResource: resource.MustParse("1")}
	requests := corev1.ResourceList{
		lab.DefaultResource:   resource.MustParse("1"),
		corev1.ResourceCPU:    resource.MustParse("8"),
		corev1.ResourceMemory: resource.MustParse("64Gi"),
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PodSpec{
			SchedulerName:                schedulerName,
			PriorityClassName:            v1alpha1.PriorityClassOnline,
			AutomountServiceAccountToken: ptr.To(false),
			EnableServiceLinks:           ptr.To(false),
			Containers: []corev1.Container{{
				Name: "main", Image: "registry.invalid/none",
				Resources: corev1.ResourceRequirements{Limits: units, Requests: requests},
			}},
		},
	}
}
