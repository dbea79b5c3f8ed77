package actuate_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/controller"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/gpunodes"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

const gpu = "nvidia.com/gpu"

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var scheme = withKinds(controller.Scheme())

// withKinds adds the kinds of jobs that have no Go types here.
func withKinds(s *runtime.Scheme) *runtime.Scheme {
	for _, f := range jobs.Fields() {
		if f.Kind.Group != "batch" {
			s.AddKnownTypeWithName(f.Kind, &unstructured.Unstructured{})
			s.AddKnownTypeWithName(f.Kind.GroupVersion().WithKind(f.Kind.Kind+"List"), &unstructured.UnstructuredList{})
		}
	}
	return s
}

var errCrash = errors.New("the process has died")

// fuse kills the process at its n-th write, to the API or the ledger: before the
// write takes effect, or after it, with the reply lost. Nothing is written later,
// unless it is a hiccup: then only that write fails, and it is one to the API.
type fuse struct {
	mu     sync.Mutex
	left   int // writes until the crash; negative: never
	after  bool
	hiccup bool
	burnt  bool
	writes []string
	// each is called before each write; nil: nothing is.
	each func(what string)
}

func (f *fuse) write(what string, do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.burnt && !f.hiccup {
		return errCrash
	}
	f.writes = append(f.writes, what)
	if f.each != nil {
		f.each(what)
	}
	if f.burnt || (f.hiccup && strings.HasPrefix(what, "ledger ")) {
		return do()
	}
	f.left--
	if f.left != 0 {
		return do()
	}
	f.burnt = true
	if f.after {
		_ = do() // whatever it says, nobody hears it
	}
	return errCrash
}

// world is a cluster and a ledger that outlive the broker.
type world struct {
	t     testing.TB
	api   client.WithWatch
	path  string
	book  *ledger.Ledger
	epoch int64
	clock *clocktesting.FakePassiveClock
	uid   int
	state lend.State
	deaf  bool // pods do not go
	// counted: a broker may have died after it closed an intent, and before it counted the
	// attempt. The next decision finds that out, and the one after it lends.
	counted bool
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, path: filepath.Join(t.TempDir(), "ledger.db"), clock: clocktesting.NewFakePassiveClock(now)}
	w.api = fake.NewClientBuilder().WithScheme(scheme).
		WithStatusSubresource(&v1alpha1.Loan{}, &v1alpha1.LendingPolicy{}, &v1alpha1.TenantQuota{}, &v1alpha1.TrainingQueue{}, &v1alpha1.GPUNode{}).
		WithObjects(objects()...).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				w.uid++
				o.SetUID(types.UID("uid-" + strconv.Itoa(w.uid)))
				o.SetCreationTimestamp(metav1.Time{Time: w.clock.Now()})
				return c.Create(ctx, o, opts...)
			},
		}).Build()
	w.open()
	t.Cleanup(func() { _ = w.book.Close() })
	return w
}

// open starts a new leader's ledger.
func (w *world) open() {
	w.t.Helper()
	book, err := ledger.Open(w.path, ledger.Options{Clock: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	w.book = book
	w.epoch++
}

// broker is one life of the broker.
type broker struct {
	*world
	actuator *actuate.Actuator
	gatherer *gather.Gatherer
}

type nothing struct{}

func (nothing) Set([]signal.Target)                 {}
func (nothing) Latest(string) (signal.Sample, bool) { return signal.Sample{}, false }

type fusedLedger struct {
	*ledger.Ledger
	fuse *fuse
}

func (l fusedLedger) Append(e ledger.Entry) (written ledger.Entry, err error) {
	err = l.fuse.write("ledger "+e.Kind.String(), func() (err error) {
		written, err = l.Ledger.Append(e)
		return err
	})
	return written, err
}

func (w *world) broker(f *fuse) *broker {
	c := interceptor.NewClient(w.api, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return f.write("create "+o.GetName(), func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return f.write("update "+o.GetName(), func() error { return c.Update(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return f.write("delete "+o.GetName(), func() error { return c.Delete(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			return f.write("patch "+o.GetName(), func() error { return c.Patch(ctx, o, p, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			return f.write("patch status "+o.GetName(), func() error { return c.SubResource(sub).Patch(ctx, o, p, opts...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			return f.write("status "+o.GetName(), func() error { return c.SubResource(sub).Update(ctx, o, opts...) })
		},
	})
	chains, gpus := &lineage.Lineage{}, &gpunodes.Nodes{Cache: w.api, Live: w.api}
	kinds := w.adapters(c, chains, nil)
	return &broker{
		world: w,
		actuator: &actuate.Actuator{
			Client: c, Live: w.api, Jobs: kinds, Chains: chains, Ledger: fusedLedger{w.book, f},
			Events: &actuate.Events{}, Clock: w.clock, Epoch: w.epoch, GPUs: gpus,
		},
		gatherer: &gather.Gatherer{Cache: w.api, Live: w.api, Scales: w.api, Jobs: kinds, Chains: chains, Signals: nothing{}, Disrupted: &gather.Disrupted{}, GPUs: gpus},
	}
}

// adapters are the kinds of jobs of a cluster on which none is installed that not every cluster has.
func (w *world) adapters(c client.Client, chains *lineage.Lineage, store jobs.Store) *jobs.Set {
	set := jobs.NewSet(jobs.Clients{Live: w.api, Client: c, Status: c.Status()}, chains, &jobs.Batch{Live: w.api, Client: c, Store: store})
	set.Installed = func(schema.GroupVersionKind) bool { return false }
	return set
}

func (b *broker) gather() *gather.View {
	b.t.Helper()
	view, err := b.gatherer.Gather(b.t.Context(), now, b.epoch)
	if err != nil {
		b.t.Fatal(err)
	}
	return view
}

func (b *broker) context() context.Context {
	return logr.NewContext(b.t.Context(), testr.NewWithInterface(b.t, testr.Options{}))
}

// apply carries out actions that the test has thought of.
func (b *broker) apply(actions ...lend.Action) error {
	return b.actuator.Apply(b.context(), b.gather(), &lend.Plan{Actions: actions})
}

// round is a whole decision of the core, and what the cluster makes of it.
func (b *broker) round() {
	b.t.Helper()
	view := b.gather()
	plan, next := lend.Decide(view.Snapshot, b.state, lend.DefaultPolicy())
	b.state = next
	if err := b.actuator.Apply(b.context(), view, &plan); err != nil {
		b.t.Fatalf("a round after the crash: %v", err)
	}
	b.jobController()
}

// jobController makes and deletes the job's pods, as the real one would, and the scheduler
// binds as many of them as the job's loan keeps.
func (w *world) jobController() {
	w.t.Helper()
	job := w.job()
	wanted := 0
	if !*job.Spec.Suspend {
		wanted = int(ptr.Deref(job.Spec.Parallelism, 1))
	}
	for i := range max(wanted, len(w.pods())) {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "research", Name: fmt.Sprintf("tune-%d", i), UID: types.UID(fmt.Sprintf("tune-%d", i)),
				Labels:          map[string]string{batchv1.ControllerUidLabel: string(job.UID)},
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "tune", UID: job.UID, Controller: ptr.To(true)}},
			},
			Spec: job.Spec.Template.Spec,
		}
		if w.keeps() {
			p.Spec.NodeName = "gpu-1"
		}
		var err error
		if i >= wanted {
			err = client.IgnoreNotFound(w.api.Delete(w.t.Context(), p))
		} else if w.api.Get(w.t.Context(), client.ObjectKeyFromObject(p), &corev1.Pod{}) != nil {
			err = w.api.Create(w.t.Context(), p)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// keeps reports whether the job may have one more bound pod.
func (w *world) keeps() bool {
	bound := int32(0)
	for _, p := range w.pods() {
		if p.Spec.NodeName != "" {
			bound++
		}
	}
	loans := w.loans()
	return len(loans) == 0 || bound < loans[0].KeptPods()
}

func (w *world) pods() []corev1.Pod {
	w.t.Helper()
	var list corev1.PodList
	if err := w.api.List(w.t.Context(), &list); err != nil {
		w.t.Fatal(err)
	}
	return list.Items
}

func (w *world) job() *batchv1.Job {
	w.t.Helper()
	var job batchv1.Job
	if err := w.api.Get(w.t.Context(), client.ObjectKey{Namespace: "research", Name: "tune"}, &job); err != nil {
		w.t.Fatal(err)
	}
	return &job
}

func (w *world) loans() []v1alpha1.Loan {
	w.t.Helper()
	var list v1alpha1.LoanList
	if err := w.api.List(w.t.Context(), &list); err != nil {
		w.t.Fatal(err)
	}
	return list.Items
}

func (w *world) lent() int64 {
	w.t.Helper()
	var p v1alpha1.LendingPolicy
	if err := w.api.Get(w.t.Context(), client.ObjectKey{Namespace: "serving", Name: "chat"}, &p); err != nil {
		w.t.Fatal(err)
	}
	return p.Status.Lent
}

// lending is the plan's action that admits the job as its next attempt.
func (w *world) lending() lend.Action {
	attempt, _ := strconv.Atoi(w.job().Annotations[v1alpha1.AnnotationAttempt])
	attempt++
	return lend.Action{
		Kind: lend.ActionLend, Loan: "research/tune-" + strconv.Itoa(attempt), Job: "research/tune", JobUID: "tune", Attempt: int32(attempt),
		Grants:   []lend.Grant{{Lender: "serving/chat", Node: "gpu-1", Flavor: "h100", Count: 4}},
		MaxGrace: time.Minute, Reason: lend.ReasonLent, Message: "4 units of h100",
	}
}

func reclaiming(loan string) lend.Action {
	return lend.Action{
		Kind: lend.ActionReclaim, Loan: loan, Job: "research/tune", JobUID: "tune",
		ReclaimBy: now.Add(10 * time.Second), ReclaimID: "r-1", LostWork: 40, Reason: lend.ReasonNeedRose, Message: "2 units are owed",
	}
}

func objects() []client.Object {
	node := func(name string) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status: corev1.NodeStatus{
				Allocatable: corev1.ResourceList{gpu: resource.MustParse("8")},
				Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			},
		}
	}
	namespace := func(name string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": name}}}
	}
	tenant := func(name string, nominal int64) *v1alpha1.TenantQuota {
		return &v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.TenantQuotaSpec{
			Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": name}}, Cohort: "lab",
			Flavors: []v1alpha1.FlavorQuota{{Name: "h100", Resource: gpu, Nominal: nominal}},
		}}
	}
	return []client.Object{
		node("gpu-0"), node("gpu-1"), namespace("serving"), namespace("research"), tenant("serving", 12), tenant("research", 0),
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: "chat", UID: "chat"},
			Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](0), Template: template(2)},
		},
		&v1alpha1.LendingPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: "chat"},
			Spec: v1alpha1.LendingPolicySpec{
				TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "chat"}, Owned: ptr.To[int64](12),
				Signals: []v1alpha1.Signal{{Profile: "vllm"}}, LowWater: "30%", HighWater: "70%",
				Reclaim: v1alpha1.Reclaim{MaxGrace: metav1.Duration{Duration: time.Minute}},
			},
		},
		&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "default"}},
		&batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "research", Name: "tune", UID: "tune", Labels: map[string]string{v1alpha1.LabelQueue: "default"},
			},
			Spec: batchv1.JobSpec{Suspend: ptr.To(true), Template: template(4)},
		},
	}
}

func template(gpus int64) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		SchedulerName: v1alpha1.SchedulerName,
		Containers: []corev1.Container{{
			Name: "main", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{gpu: *resource.NewQuantity(gpus, resource.DecimalSI)}},
		}},
	}}
}
