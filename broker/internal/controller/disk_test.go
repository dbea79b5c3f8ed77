package controller

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/extmetrics"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/gpunodes"
	"github.com/ebbtide/ebbtide/broker/internal/history"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/internal/prewarm"
	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

// failing is a ledger whose disk fails in the n-th commit. Whether the entry is on the disk
// then is not known: written says what is so. As a ledger does, it writes nothing after that.
type failing struct {
	*segments.Set
	left    int
	written bool
	burnt   bool
	// writes counts what was written to the API server after that.
	writes int
}

func (f *failing) Append(e ledger.Entry) (ledger.Entry, error) {
	if f.left--; !f.burnt && f.left != 0 {
		return f.Set.Append(e)
	}
	if !f.burnt && f.written {
		if _, err := f.Set.Append(e); err != nil {
			return ledger.Entry{}, err
		}
	}
	f.burnt = true
	return ledger.Entry{}, fmt.Errorf("%w: commit of %s: input/output error", ledger.ErrUnknownOutcome, e.Kind)
}

func (f *failing) write() {
	if f.burnt {
		f.writes++
	}
}

// town is a cluster with a job that waits, and has room within its tenant's own quota.
func newDiskTown() client.WithWatch {
	units := corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("4")}
	return fake.NewClientBuilder().WithScheme(Scheme()).
		WithStatusSubresource(&v1alpha1.Loan{}, &v1alpha1.LendingPolicy{}, &v1alpha1.TenantQuota{}, &v1alpha1.TrainingQueue{}).
		WithInterceptorFuncs(interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			o.SetUID(types.UID("uid-" + o.GetName()))
			o.SetCreationTimestamp(metav1.Now())
			return c.Create(ctx, o, opts...)
		}}).
		WithObjects(
			&corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: "gpu-0"},
				Status: corev1.NodeStatus{
					Allocatable: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("8")},
					Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
				},
			},
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "research", Labels: map[string]string{"team": "research"}}},
			&v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: "research"}, Spec: v1alpha1.TenantQuotaSpec{
				Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "research"}},
				Flavors:    []v1alpha1.FlavorQuota{{Name: "h100", Resource: "nvidia.com/gpu", Nominal: 8}},
			}},
			&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "default"}},
			&batchv1.Job{
				ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "tune", UID: "tune", Labels: map[string]string{v1alpha1.LabelQueue: "default"}},
				Spec: batchv1.JobSpec{Suspend: ptr.To(true), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
					SchedulerName: v1alpha1.SchedulerName,
					Containers:    []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{Limits: units, Requests: units}}},
				}}},
			},
		).Build()
}

type noSignals struct{}

func (noSignals) Set([]signal.Target)                 {}
func (noSignals) Latest(string) (signal.Sample, bool) { return signal.Sample{}, false }

// diskLife is one life of a broker on that cluster, until its loop is about to begin.
func diskLife(t *testing.T, api client.WithWatch, book *segments.Set, disk *failing, epoch int64) *loop {
	t.Helper()
	disk.Set = book
	c := interceptor.NewClient(api, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			disk.write()
			return c.Create(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			disk.write()
			return c.Patch(ctx, o, p, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			disk.write()
			return c.Delete(ctx, o, opts...)
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			if _, loan := o.(*v1alpha1.Loan); loan { // other statuses only inform
				disk.write()
			}
			return c.SubResource(sub).Update(ctx, o, opts...)
		},
	})
	chains, gpus := &lineage.Lineage{}, &gpunodes.Nodes{Cache: api, Live: api}
	kinds := jobs.NewSet(jobs.Clients{Live: api, Client: c, Status: c.Status()}, chains, &jobs.Batch{Live: api, Client: c})
	kinds.Installed = func(schema.GroupVersionKind) bool { return false }
	actuator := &actuate.Actuator{
		Client: c, Live: api, Jobs: kinds, Chains: chains, Ledger: disk, Events: &actuate.Events{}, Clock: clock.RealClock{}, Epoch: epoch, GPUs: gpus,
	}
	config := DefaultConfig()
	metrics := NewMetrics(prometheus.NewRegistry(), clock.RealClock{}, time.Second)
	o := &outside{
		lease: &published.Lease{Client: api, Live: api, Namespace: "ebbtide-system", Clock: clock.RealClock{}},
		book:  book, shown: metrics.outside,
	}
	past := history.New(0)
	return &loop{
		gatherer: &gather.Gatherer{
			Cache: api, Live: api, Scales: api, Jobs: kinds, Chains: chains, Signals: noSignals{}, Disrupted: &gather.Disrupted{}, GPUs: gpus, History: past,
		},
		actuator: actuator, ledger: book, outside: o, history: past, policy: config.Lend(), clock: clock.RealClock{}, actTimeout: time.Minute,
		pace:  &pace{wakes: newWakes(), interval: 10 * time.Millisecond, clock: clock.RealClock{}},
		board: &Board{}, metrics: metrics, resources: &resources{},
		tide:   &tide{hooks: &prewarm.Runner{Client: c, Live: api, Clock: clock.RealClock{}}},
		wanted: &extmetrics.Board{Clock: clock.RealClock{}, Interval: time.Second},
	}
}

// TestDiskFails: a commit of which the disk cannot say whether it is done ends the running
// broker, which does nothing more in the cluster. The next one finds out by the operation's
// ID what was written, goes on from there, and writes nothing twice.
func TestDiskFails(t *testing.T) {
	const entries = 3 // EPOCH_START, LEND_INTENT, LEND_GRANTED
	for _, written := range []bool{false, true} {
		for n := 1; n <= entries+1; n++ {
			t.Run(fmt.Sprintf("%d/written=%t", n, written), func(t *testing.T) {
				api, path := newDiskTown(), filepath.Join(t.TempDir(), "ledger.db")
				book, err := segments.Open(path, segments.Options{})
				if err != nil {
					t.Fatal(err)
				}
				disk := &failing{left: n, written: written}
				err = runUntil(t, diskLife(t, api, book, disk, 1), api)
				if disk.burnt != (n <= entries) || disk.burnt != errors.Is(err, actuate.ErrStop) {
					t.Errorf("the disk failed: %t; the broker ended with %v", disk.burnt, err)
				}
				if disk.burnt && (!errors.Is(err, ledger.ErrUnknownOutcome) || disk.writes != 0) {
					t.Errorf("%d writes after the disk had failed; %v", disk.writes, err)
				}
				if err := book.Close(); err != nil {
					t.Fatal(err)
				}

				if book, err = segments.Open(path, segments.Options{}); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = book.Close() }()
				if err := runUntil(t, diskLife(t, api, book, &failing{left: -1}, 2), api); err != nil {
					t.Errorf("the next broker ended with %v", err)
				}
				wantLentOnce(t, api, book)
			})
		}
	}
}

// runUntil starts a broker's loop, and ends it when the job's loan is granted, or it ends
// itself.
func runUntil(t *testing.T, l *loop, api client.Client) error {
	t.Helper()
	if err := l.actuator.Start(t.Context()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if granted(ctx, api, l.ledger) {
				cancel()
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Millisecond):
			}
		}
	}()
	err := l.run(ctx)
	if err == nil && !granted(t.Context(), api, l.ledger) {
		t.Error("nothing was lent in a minute")
	}
	return err
}

// granted: a loan of the job's is, and the job runs.
func granted(ctx context.Context, api client.Client, book *segments.Set) bool {
	var job batchv1.Job
	err := api.Get(ctx, client.ObjectKey{Namespace: "research", Name: "tune"}, &job)
	open := book.OpenLoans()
	return err == nil && !*job.Spec.Suspend && len(open) == 1 && open[0].State == ledger.Granted
}

func wantLentOnce(t *testing.T, api client.Client, book *segments.Set) {
	t.Helper()
	var loans v1alpha1.LoanList
	if err := api.List(t.Context(), &loans); err != nil {
		t.Fatal(err)
	}
	open := book.OpenLoans()
	if len(loans.Items) != 1 || len(open) != 1 || open[0].Loan != "research/"+loans.Items[0].Name {
		t.Errorf("Loans: %+v; in the ledger: %+v", loans.Items, open)
	}
	all, err := book.Read(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for i := range all {
		key := fmt.Sprintf("%s of %s", all[i].Kind, all[i].OpID)
		if seen[key]++; seen[key] > 1 {
			t.Errorf("the ledger has %s twice", key)
		}
	}
	if report, err := book.Verify(); err != nil || !report.OK() {
		t.Errorf("the ledger is not sound: %v %v", err, report)
	}
}
