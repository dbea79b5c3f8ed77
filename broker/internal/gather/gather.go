package gather

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// Signals has the latest answers about the lenders' load.
type Signals interface {
	Set(targets []signal.Target)
	Latest(name string) (signal.Sample, bool)
}

// Gatherer reads the cluster.
type Gatherer struct {
	// Cache reads the informers' caches, Live the API server.
	Cache, Live client.Reader
	// Scales reads targets of kinds that have no cache.
	Scales  Scaler
	Jobs    jobs.Kind
	Signals Signals
	// YoungReplica is how long a replica must have been ready before it is believed
	// that it has nothing to do.
	YoungReplica time.Duration
	// Setbacks remembers the admissions that came to nothing.
	Setbacks *Setbacks
	// Disrupted remembers what the pods' watch saw.
	Disrupted *Disrupted
}

// View is a snapshot together with the objects that it was made from, which the
// plan's writes need.
type View struct {
	Snapshot lend.Snapshot
	// Policies and Loans are live objects by namespace/name; Loans has returned
	// ones too, Pods the pods of open loans that have not ended.
	Policies map[string]*v1alpha1.LendingPolicy
	Loans    map[string]*v1alpha1.Loan
	Pods     map[string][]*corev1.Pod
	// Jobs are all jobs with a queue, or a loan, by UID.
	Jobs map[types.UID]*jobs.Job
	// Strays are jobs with a queue that run without an open loan, as far as the
	// cache knows.
	Strays []*jobs.Job
	// Resources by flavor.
	Resources map[string]corev1.ResourceName
	// Nodes are the names of the nodes that exist.
	Nodes  map[string]bool
	Queues []v1alpha1.TrainingQueue
	// Quotas, by name, and what is wrong with them.
	Quotas        []v1alpha1.TenantQuota
	QuotaProblems map[string]*lend.Problem
	// Unplaceable says, by lender, which of its pods wait for no units because no
	// node could take them.
	Unplaceable map[string]string
	// Used units by tenant and flavor, borrowed ones included.
	Used map[string]map[string]int64
}

// inputs is everything that was read.
type inputs struct {
	nodes       corev1.NodeList
	namespaces  corev1.NamespaceList
	pods        corev1.PodList
	replicaSets appsv1.ReplicaSetList
	sets        appsv1.StatefulSetList
	classes     schedulingv1.PriorityClassList
	quotas      v1alpha1.TenantQuotaList
	queues      v1alpha1.TrainingQueueList
	policies    v1alpha1.LendingPolicyList
	loans       v1alpha1.LoanList
	jobs        []jobs.Job
	autoscalers autoscalers
}

// Kinds are the kinds that must be in the caches before the first Gather.
func Kinds() []client.Object {
	return []client.Object{
		&corev1.Node{}, &corev1.Namespace{}, &corev1.Pod{}, &appsv1.Deployment{}, &appsv1.ReplicaSet{},
		&appsv1.StatefulSet{}, &autoscalingv2.HorizontalPodAutoscaler{}, &schedulingv1.PriorityClass{}, &batchv1.Job{},
		&v1alpha1.TenantQuota{}, &v1alpha1.TrainingQueue{}, &v1alpha1.LendingPolicy{}, &v1alpha1.Loan{},
	}
}

// Gather reads the cluster as it is at now. It fails if something could not be
// read at all: a decision on half a cluster would be wrong.
func (g *Gatherer) Gather(ctx context.Context, now time.Time, epoch int64) (*View, error) {
	in, err := g.read(ctx)
	if err != nil {
		return nil, err
	}
	tenants := newTenancy(in.quotas.Items, in.namespaces.Items)
	lenders, err := g.lenders(ctx, in, tenants)
	if err != nil {
		return nil, err
	}
	loans := openLoans(in.loans.Items)
	flavors := newFlavorTable(tenants.flavors, in.nodes.Items, loans)
	c := newCount(in, lenders, loans, flavors, tenants)
	for i := range in.pods.Items {
		c.pod(&in.pods.Items[i])
	}
	g.poll(lenders)

	view := newView(in, tenants)
	view.Used = c.used
	s := &view.Snapshot
	s.Now, s.Epoch = now.UTC().Round(0), epoch
	s.Nodes, s.Tenants, s.Queues = c.nodes(in.nodes.Items), c.holdings(), queues(in.queues.Items, tenants)
	for _, l := range lenders {
		s.Lenders = append(s.Lenders, g.finish(l, s.Now))
		view.Policies[l.Name] = l.policy
		if why := l.unplaceable(); why != "" {
			view.Unplaceable[l.Name] = why
		}
	}
	if err := g.loansAndJobs(ctx, view, in, loans, tenants); err != nil {
		return nil, err
	}
	return view, nil
}

func newView(in *inputs, t *tenancy) *View {
	v := &View{
		Policies: map[string]*v1alpha1.LendingPolicy{}, Loans: map[string]*v1alpha1.Loan{},
		Pods: map[string][]*corev1.Pod{}, Jobs: map[types.UID]*jobs.Job{},
		Resources: map[string]corev1.ResourceName{}, Nodes: map[string]bool{},
		Unplaceable: map[string]string{}, Queues: in.queues.Items, Quotas: in.quotas.Items, QuotaProblems: t.problems,
	}
	for name, f := range t.flavors {
		v.Resources[name] = f.Resource
	}
	for i := range in.nodes.Items {
		v.Nodes[in.nodes.Items[i].Name] = true
	}
	for i := range in.loans.Items {
		l := &in.loans.Items[i]
		v.Loans[l.Namespace+"/"+l.Name] = l
	}
	return v
}

// openLoans are the loans that hold units, by name. That a job has only one is
// the ledger's to see to: here every Loan counts.
func openLoans(items []v1alpha1.Loan) []*loan {
	var open []*loan
	for i := range items {
		if !Returned(&items[i]) {
			open = append(open, newLoan(&items[i]))
		}
	}
	slices.SortFunc(open, func(a, b *loan) int { return cmp.Compare(a.Name, b.Name) })
	return open
}

// poll tells the poller whom to ask about.
func (g *Gatherer) poll(lenders []*lender) {
	targets := make([]signal.Target, 0, len(lenders))
	for _, l := range lenders {
		if l.target != "" && len(l.specs) > 0 {
			targets = append(targets, signal.Target{Name: l.Name, Namespace: l.policy.Namespace, Specs: l.specs})
		}
	}
	g.Signals.Set(targets)
}

// loansAndJobs fills in the open loans, and the jobs that wait.
func (g *Gatherer) loansAndJobs(ctx context.Context, v *View, in *inputs, open []*loan, t *tenancy) error {
	s := &v.Snapshot
	classes := newPriorities(in.classes.Items)
	known := map[string]bool{}
	for _, q := range s.Queues {
		known[q.Name] = true
	}
	for i := range in.jobs {
		v.Jobs[in.jobs[i].UID] = &in.jobs[i]
	}
	covered := map[types.UID]bool{}
	for _, l := range open {
		uid := l.object.Spec.Job.UID
		covered[uid] = true
		l.marked = l.marked || g.Disrupted.has(l.object)
		job, err := g.jobOf(ctx, l, v.Jobs[uid])
		if err != nil {
			return err
		}
		var priority int32
		if job != nil {
			priority = classes.of(job.Template.Spec.PriorityClassName)
		}
		s.Loans = append(s.Loans, l.finish(job, priority, s.Now))
		v.Pods[l.Name] = l.pods
	}
	g.Disrupted.keep(covered)
	g.Setbacks.keep(func(uid types.UID) bool { return v.Jobs[uid] != nil })
	for i := range in.jobs {
		job := &in.jobs[i]
		switch {
		case covered[job.UID] || job.Finished || job.Queue == "":
		case job.Suspended:
			w := waiting(job, known, t, classes)
			if w.Problem == nil {
				w.Problem = g.Setbacks.problem(job.UID, s.Now)
			}
			s.Jobs = append(s.Jobs, w)
		default:
			v.Strays = append(v.Strays, job)
		}
	}
	slices.SortFunc(s.Jobs, func(a, b lend.Job) int { return cmp.Compare(a.UID, b.UID) })
	return nil
}

// jobOf returns the job of an open loan, nil if it is gone. Where the cache says
// that it is gone or suspended although nobody asked for its units, the API
// server is asked: the cache may not have seen the admission yet, and a loan must
// not end because of that.
func (g *Gatherer) jobOf(ctx context.Context, l *loan, cached *jobs.Job) (*jobs.Job, error) {
	if cached != nil && (!cached.Suspended || l.Reclaiming || cached.Finished) {
		return cached, nil
	}
	key := types.NamespacedName{Namespace: l.object.Namespace, Name: l.object.Spec.Job.Name}
	job, err := g.Jobs.Get(ctx, g.Live, key)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return nil, err
	case err == nil && job.UID == l.object.Spec.Job.UID:
		return &job, nil
	default:
		return nil, nil
	}
}

func (g *Gatherer) read(ctx context.Context) (*inputs, error) {
	in := &inputs{}
	var hpas autoscalingv2.HorizontalPodAutoscalerList
	for _, q := range []struct {
		from client.Reader
		into client.ObjectList
	}{
		{g.Live, &in.loans}, {g.Live, &in.policies},
		{g.Cache, &in.nodes}, {g.Cache, &in.namespaces}, {g.Cache, &in.pods},
		{g.Cache, &in.replicaSets}, {g.Cache, &in.sets}, {g.Cache, &hpas}, {g.Cache, &in.classes},
		{g.Cache, &in.quotas}, {g.Cache, &in.queues},
	} {
		if err := q.from.List(ctx, q.into); err != nil {
			return nil, fmt.Errorf("list %T: %w", q.into, err)
		}
	}
	in.autoscalers = newAutoscalers(hpas.Items)
	list, err := g.Jobs.List(ctx, g.Cache)
	if err != nil {
		return nil, err
	}
	in.jobs = list
	return in, g.readUnqueued(ctx, in)
}

// readUnqueued adds jobs that have a loan but no queue label any more: taking
// the label off must not make the job look gone.
func (g *Gatherer) readUnqueued(ctx context.Context, in *inputs) error {
	known := map[types.UID]bool{}
	for i := range in.jobs {
		known[in.jobs[i].UID] = true
	}
	for i := range in.loans.Items {
		l := &in.loans.Items[i]
		if known[l.Spec.Job.UID] {
			continue
		}
		job, err := g.Jobs.Get(ctx, g.Cache, types.NamespacedName{Namespace: l.Namespace, Name: l.Spec.Job.Name})
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err == nil && job.UID == l.Spec.Job.UID {
			in.jobs = append(in.jobs, job)
		}
	}
	return nil
}
