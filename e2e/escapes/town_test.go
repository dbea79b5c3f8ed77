package escapes

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/crds"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

const (
	gpu     = corev1.ResourceName("nvidia.com/gpu")
	slice   = corev1.ResourceName("nvidia.com/mig-1g.10gb") // in blue's quota only
	lofty   = "lofty"                                       // a PriorityClass above every tenant's highest
	unnamed = corev1.ResourceName("nvidia.com/mig-3g.40gb") // in nobody's quota

	red    = "red"        // the tenant that tries to escape, and its first namespace
	second = "red-second" // its second namespace, without a ResourceQuota
	blue   = "blue"       // another tenant of the same cohort
	nobody = "nobody"     // a namespace of no tenant

	// Both tenants' nominal quotas are all that the nodes have. Blue uses half of its
	// own, so that there is room for far more than red may have, and nothing but
	// Ebbtide keeps red from it.
	redNominal, redBorrows = 4, 4
	blueNominal            = 12

	// patience is how long a test waits for what it expects.
	patience = 3 * time.Minute
	// pace is how often it looks.
	pace = 50 * time.Millisecond
)

// town is a cluster of two tenants. Red runs one job of two units and has another
// one waiting in a queue that is paused; blue trains and serves.
type town struct {
	*lab.Lab
	t     *testing.T
	admin client.Client
	// mallory may edit red's namespace and, as some clusters allow, label it, make
	// others, claim devices and debug pods.
	mallory *user
	// marvin may do anything at all in red's namespace.
	marvin *user
}

// user is one who may do what RBAC allows.
type user struct {
	client.Client
	kube   kubernetes.Interface
	config *rest.Config
}

func newTown(t *testing.T) *town {
	t.Helper()
	manifests, err := deploy.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	extra := corev1.ResourceList{slice: resource.MustParse("7"), unnamed: resource.MustParse("2")}
	// Objects of these kinds wait and say so; those of the others run as well.
	kinds, err := crds.Manifests(crds.Trainer, crds.TrainingOperator)
	if err != nil {
		t.Fatal(err)
	}
	l := labtest.New(t, lab.Options{
		NoPrometheus: true,
		Manifests:    append(kinds, manifests),
		Nodes:        []lab.NodeSpec{{Name: "gpu-0", GPUs: 8, Extra: extra}, {Name: "gpu-1", GPUs: 8, Extra: extra}},
		Scheduler:    &lab.Program{Config: func(lab.Env) ([]byte, error) { return deploy.SchedulerConfig(), nil }},
		Broker:       broker(),
		Operators:    []string{crds.JobSet, crds.KubeRay},
		AuditReads:   []string{brokerUser, schedulerUser},
	})
	w := &town{Lab: l, t: t}
	w.admin = w.user(l.Config()).Client
	w.settle()
	w.mallory, w.marvin = w.ordinary("mallory"), w.ordinary("marvin")
	w.grant()
	w.work()
	return w
}

// broker decides fast and, without Prometheus, knows no load.
func broker() *lab.Program {
	return &lab.Program{Config: func(e lab.Env) ([]byte, error) {
		web, err := e.Listen("web")
		if err != nil {
			return nil, err
		}
		return fmt.Appendf(nil, `apiVersion: ebbtide.dev/v1alpha1
kind: BrokerConfiguration
interval: 500ms
ledger: {path: %q}
http: {bindAddress: %q}
metrics: {bindAddress: "0"}
healthProbe: {bindAddress: %q}
leaderElection: {enabled: false}
client: {qps: 500, burst: 1000}
policy: {minimumLoan: 1s, evictionBudget: 100, quotaGrace: 2s}
`, e.Dir+"/ledger.db", web, e.Addr), nil
	}}
}

func (w *town) user(config *rest.Config) *user {
	w.t.Helper()
	api, err := lab.TypedClient(config)
	if err != nil {
		w.t.Fatal(err)
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		w.t.Fatal(err)
	}
	return &user{Client: api, kube: kube, config: config}
}

func (w *town) ordinary(name string) *user {
	w.t.Helper()
	config, err := w.UserConfig(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.user(config)
}

func (w *town) create(o client.Object) {
	w.t.Helper()
	if err := w.admin.Create(w.t.Context(), o); err != nil {
		w.t.Fatalf("create %T %s: %v", o, o.GetName(), err)
	}
}

// settle makes the tenants and what an administrator gives them.
func (w *town) settle() {
	w.t.Helper()
	for name, labels := range map[string]map[string]string{red: {"team": red}, second: {"team": red}, blue: {"team": blue}, nobody: nil} {
		if err := w.CreateNamespace(w.t.Context(), name, labels); err != nil {
			w.t.Fatal(err)
		}
	}
	quota := func(name string, flavors ...v1alpha1.FlavorQuota) *v1alpha1.TenantQuota {
		return &v1alpha1.TenantQuota{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: v1alpha1.TenantQuotaSpec{
				Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": name}},
				Cohort:     "lab", Flavors: flavors,
			},
		}
	}
	w.create(quota(red, v1alpha1.FlavorQuota{Name: "h100", Resource: string(gpu), Nominal: redNominal, BorrowingLimit: ptr.To[int64](redBorrows)}))
	w.create(quota(blue,
		v1alpha1.FlavorQuota{Name: "h100", Resource: string(gpu), Nominal: blueNominal},
		v1alpha1.FlavorQuota{Name: "h100-1g", Resource: string(slice), Nominal: 2}))
	w.create(&corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: "pods"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("200")}},
	})
	w.create(&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: lofty}, Value: v1alpha1.PriorityOnline + 1})
	w.create(&resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu.nvidia.com"}, Spec: resourcev1.DeviceClassSpec{
		Selectors: []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: `device.driver == "gpu.nvidia.com"`}}},
	}})
}

// grant gives the users their roles, and waits until they have them.
func (w *town) grant() {
	w.t.Helper()
	debugger := []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods/ephemeralcontainers", "pods/resize"}, Verbs: []string{"patch", "update"}},
		{APIGroups: []string{jobSets.Group, trainJobs.Group, pyTorchJobs.Group, rayJobs.Group}, Resources: []string{
			"jobsets", "trainjobs", "pytorchjobs", "mpijobs", "rayjobs", "rayclusters",
		}, Verbs: []string{"*"}},
		{APIGroups: []string{"resource.k8s.io"}, Resources: []string{"resourceclaims", "resourceclaimtemplates"}, Verbs: []string{"*"}},
	}
	writer := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get", "create", "update", "patch"}}}
	w.create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: "debugger"}, Rules: debugger})
	w.create(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "namespace-writer"}, Rules: writer})
	bind := func(namespace, kind, role, who string) {
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role}
		subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: who}}
		meta := metav1.ObjectMeta{Namespace: namespace, Name: who + "-" + role}
		if namespace == "" {
			w.create(&rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
			return
		}
		w.create(&rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
	}
	bind(red, "ClusterRole", "edit", "mallory")
	bind(second, "ClusterRole", "edit", "mallory")
	bind(nobody, "ClusterRole", "edit", "mallory")
	bind(red, "Role", "debugger", "mallory")
	bind("", "ClusterRole", "namespace-writer", "mallory")
	bind(red, "ClusterRole", "cluster-admin", "marvin")
	// A controller adds Ebbtide's rules to Kubernetes' role edit, and the API server
	// learns of bindings from a watch: queues can be made when all is in place.
	for name, paused := range map[string]bool{"default": false, "paused": true} {
		labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
			err := w.mallory.Create(ctx, &v1alpha1.TrainingQueue{
				ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: name},
				Spec:       v1alpha1.TrainingQueueSpec{Paused: paused},
			})
			return err == nil, fmt.Sprintf("create queue %s: %v", name, err)
		})
	}
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		var list v1alpha1.LoanList
		err := w.marvin.List(ctx, &list, client.InNamespace(red))
		return err == nil, fmt.Sprint(err)
	})
}

// work starts what both tenants do all the time.
func (w *town) work() {
	w.t.Helper()
	w.create(&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: blue, Name: "theirs"}})
	w.create(queued(blue, "theirs", "theirs", 2, 2))
	labels := map[string]string{"app": "chat"}
	pod := gpuPod(blue, "", gpu, "1")
	pod.Labels, pod.Spec.PriorityClassName = labels, v1alpha1.PriorityClassOnline
	w.create(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: blue, Name: "chat"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](2), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod.Spec},
		},
	})
	ctx := w.t.Context()
	// Its class is that of a pod without one, so that no such pod takes its place:
	// among a tenant's own, the higher priority wins.
	running := queued(red, "running", "default", 2, 1, func(job *batchv1.Job) {
		job.Spec.Template.Spec.PriorityClassName = v1alpha1.PriorityClassTraining
	})
	for _, job := range []*batchv1.Job{running, queued(red, "waiting", "paused", 1, 1)} {
		if err := w.mallory.Create(ctx, job); err != nil {
			w.t.Fatal(err)
		}
	}
	w.await(blue, 4)
	w.await(red, 2)
}

// await waits until exactly n pods of a namespace hold a node, and no others are
// left in it that nobody asked for.
func (w *town) await(namespace string, n int) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		var pods corev1.PodList
		err := w.admin.List(ctx, &pods, client.InNamespace(namespace))
		bound, said := 0, ""
		for i := range pods.Items {
			if pods.Items[i].Spec.NodeName != "" {
				bound++
			}
			said += " " + describe(&pods.Items[i])
		}
		return err == nil && bound == n && len(pods.Items) == n, fmt.Sprintf("%d pods bound in %s, want %d (%v):%s", bound, namespace, n, err, said)
	})
}

func describe(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			return fmt.Sprintf("%s on %q: %s", pod.Name, pod.Spec.NodeName, c.Message)
		}
	}
	return fmt.Sprintf("%s on %q", pod.Name, pod.Spec.NodeName)
}

// gpuPod is a pod that asks for units of a resource, for Ebbtide's scheduler.
func gpuPod(namespace, name string, what corev1.ResourceName, units string, changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PodSpec{
			SchedulerName:                 v1alpha1.SchedulerName,
			TerminationGracePeriodSeconds: ptr.To[int64](1),
			Containers: []corev1.Container{{
				Name: "main", Image: "registry.invalid/none",
				Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{what: resource.MustParse(units)}},
			}},
		},
	}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

// queued is a job of equal pods in a queue.
func queued(namespace, name, queue string, pods int32, units int, changes ...func(*batchv1.Job)) *batchv1.Job {
	spec := gpuPod("", "", gpu, fmt.Sprint(units)).Spec
	spec.SchedulerName, spec.RestartPolicy = "", corev1.RestartPolicyNever
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{v1alpha1.LabelQueue: queue, "by": "hand"}},
		Spec: batchv1.JobSpec{
			Parallelism: &pods, Completions: &pods,
			Template: corev1.PodTemplateSpec{Spec: spec},
		},
	}
	for _, change := range changes {
		change(job)
	}
	return job
}
