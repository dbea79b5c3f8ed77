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
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/autoscaler"
	"github.com/ebbtide/ebbtide/broker/internal/history"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/lineage"
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
	// Advise has every LendingPolicy only advise, whatever its mode.
	Advise bool
	// Loans, if set, reads all Loans; else Live does.
	Loans LoanReader
	// Scales reads targets of kinds that have no cache.
	Scales Scaler
	Jobs   Jobs
	// Chains knows who made pods; nil: nobody is known. It is told of what the caches did
	// not have yet.
	Chains  *lineage.Lineage
	Signals Signals
	// YoungReplica is how long a replica must have been ready before it is believed
	// that it has nothing to do.
	YoungReplica time.Duration
	// Setbacks remembers the admissions that came to nothing.
	Setbacks *Setbacks
	// Disrupted remembers what the pods' watch saw.
	Disrupted *Disrupted
	// History has what tenants borrowed and queues used lately; nil: nothing.
	History *history.History
	// Kinds finds autoscalers and workloads of kinds that may be installed later; nil:
	// there are none.
	Kinds *autoscaler.Kinds
	// Backends of the configuration; nil: none.
	Backends autoscaler.Backends
	// Demand remembers loads; nil: each load is taken as it is, and nothing is forecast.
	Demand Demand
	// Hooks know what is done before units are lent; nil: nothing.
	Hooks Hooks
	// GPUs are what agents say; nil: there are none.
	GPUs     GPUs
	Reshapes ReshapeCosts

	memory  memory
	windows windows
	// gone are owners of pods of which the API server said that they are.
	gone map[types.UID]bool
}

// LoanReader reads Loans, no older than what the broker has written. They are not changed.
type LoanReader interface {
	List(ctx context.Context, into *v1alpha1.LoanList) error
}

// View is a snapshot together with the objects that it was made from, which the
// plan's writes need.
type View struct {
	Snapshot lend.Snapshot
	// Policies and Loans are live objects by namespace/name; Loans has returned
	// ones too, Pods the pods of open loans that have not ended, but for those that ask
	// for no units: these are Beside.
	Policies map[string]*v1alpha1.LendingPolicy
	Loans    map[string]*v1alpha1.Loan
	Pods     map[string][]*corev1.Pod
	Beside   map[string][]*corev1.Pod
	// Strays are jobs with a queue that run without an open loan, as far as the
	// cache knows.
	Strays []*jobs.Job
	// Resources by flavor.
	Resources map[string]corev1.ResourceName
	// Presence of the nodes.
	*Presence
	Queues []v1alpha1.TrainingQueue
	// Namespaces of each tenant that has any, by name.
	Namespaces map[string][]string
	// Quotas, by name, and what is wrong with them.
	Quotas        []v1alpha1.TenantQuota
	QuotaProblems map[string]*lend.Problem
	// QuotaNotes says, by TenantQuota, what its writer may not expect, though it holds.
	QuotaNotes map[string]string
	// Subtrees are what cohorts have with all below them, by cohort and flavor.
	Subtrees map[string]map[string]int64
	// Strangers ask for GPUs through other schedulers, by namespace and name.
	Strangers []Stranger
	// Unplaceable says, by lender, which of its pods wait for no units because no
	// node could take them.
	Unplaceable map[string]string
	// ScalingRefused says, by lender, why the broker does not scale a target although the
	// policy wants it.
	ScalingRefused map[string]*lend.Problem
	// Notes are, by lender, what the policy's owner should know, though nothing is
	// decided by it.
	Notes map[string][]string
	// Used units by tenant and flavor, borrowed ones included.
	Used map[string]map[string]int64
	// Freed units of each flavor in the time history.Lately before now.
	Freed map[string]int64
	// GPUNodes by name, and what their specs should say is kept, where it is not what they
	// say.
	GPUNodes map[string]*v1alpha1.GPUNode
	Pins     map[string][]v1alpha1.PinnedSlices
	// Slices are what policies with pinned slices keep, by lender.
	Slices map[string]*Slices

	// Changed are the jobs that are not as the last Gather saw them.
	Changed []types.UID

	memory *memory
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
	found       *autoscaler.Found
	autoscalers *autoscaler.Set
	// deployments are read only where something else owns them.
	deployments appsv1.DeploymentList

	resourceQuotas corev1.ResourceQuotaList
	limitRanges    corev1.LimitRangeList
}

// Kinds are the kinds that must be in the caches before the first Gather.
func Kinds() []client.Object {
	return []client.Object{
		&corev1.Node{}, &corev1.Namespace{}, &corev1.Pod{}, &appsv1.Deployment{}, &appsv1.ReplicaSet{},
		&appsv1.StatefulSet{}, &autoscalingv2.HorizontalPodAutoscaler{}, &schedulingv1.PriorityClass{}, &batchv1.Job{},
		&corev1.ResourceQuota{}, &corev1.LimitRange{},
		&v1alpha1.TenantQuota{}, &v1alpha1.TrainingQueue{}, &v1alpha1.LendingPolicy{}, &v1alpha1.Loan{}, &v1alpha1.GPUNode{},
	}
}

// Gather reads the cluster as it is at now. It fails if something could not be
// read at all: a decision on half a cluster would be wrong.
func (g *Gatherer) Gather(ctx context.Context, now time.Time, epoch int64) (*View, error) {
	in, err := g.read(ctx)
	if err != nil {
		return nil, err
	}
	r := newRules(g.memory.rules, in)
	tenants := r.tenants
	if err := g.readJobs(ctx, in, r); err != nil {
		return nil, err
	}
	lenders, err := g.lenders(ctx, in, tenants)
	if err != nil {
		return nil, err
	}
	loans := openLoans(in.loans.Items)
	gpus, err := g.readGPUs(ctx, now)
	if err != nil {
		return nil, err
	}
	gpus.claimed(in.nodes.Items)
	gpus.settling(in.nodes.Items)
	flavors := newFlavorTable(tenants.flavors, in.nodes.Items, loans)
	presence := newPresence(in.nodes.Items, now)
	c := newCount(in, lenders, loans, flavors, tenants, presence)
	c.kin, c.gpus = g.kinship(ctx, loans, flavors), gpus
	for i := range in.pods.Items {
		c.pod(&in.pods.Items[i])
	}
	g.Disrupted.mark(c)
	c.look(in.nodes.Items, lenders)
	for _, l := range lenders {
		l.expand(g.Backends)
	}
	g.poll(lenders)

	view := newView(in, tenants, &g.memory)
	view.Presence, view.Strangers = presence, strangers(in.pods.Items)
	view.Used, view.Freed, view.QuotaNotes = c.used, g.History.Freed(now), tenants.notes(flavors)
	s := &view.Snapshot
	s.Now, s.Epoch = now.UTC().Round(0), epoch
	view.gpus(c.gpus)
	s.Nodes, s.Flavors, s.Cohorts = c.nodes(in.nodes.Items, in.policies.Items), tenants.slices(), tenants.cohorts
	s.Tenants = c.holdings(g.History.Borrowed(now))
	s.Queues = queues(in.queues.Items, tenants, g.History.Used(now))
	g.finishAll(view, lenders)
	covered, err := g.loans(ctx, view, r, loans)
	if err != nil {
		return nil, err
	}
	g.memory.coverGroups(covered, loans)
	g.Setbacks.keep(func(uid types.UID) bool { return view.Job(uid) != nil })
	sorted := g.memory.sort(covered, g.Setbacks, s.Now)
	s.Jobs, view.Strays = sorted.waiting, sorted.strays
	s.Limits = r.limits(view, loans)
	view.Changed = g.memory.news()
	return view, nil
}

// finishAll puts the lenders into the view.
func (g *Gatherer) finishAll(v *View, lenders []*lender) {
	s := &v.Snapshot
	g.windows.begin()
	for _, l := range lenders {
		s.Lenders = append(s.Lenders, g.finish(l, s.Now))
		v.Policies[l.Name] = l.policy
		if why := l.unplaceable(); why != "" {
			v.Unplaceable[l.Name] = why
		}
		if l.refused != nil {
			v.ScalingRefused[l.Name] = l.refused
		}
		if len(l.notes) > 0 {
			v.Notes[l.Name] = l.notes
		}
		if l.sliced != nil {
			v.Slices[l.Name] = l.sliced
		}
	}
	if g.Demand != nil {
		names := make(map[string]bool, len(lenders))
		for _, l := range lenders {
			names[l.Name] = true
		}
		g.Demand.Keep(names)
	}
}

func newView(in *inputs, t *tenancy, m *memory) *View {
	v := &View{
		Policies: map[string]*v1alpha1.LendingPolicy{}, Loans: map[string]*v1alpha1.Loan{},
		Pods: map[string][]*corev1.Pod{}, Beside: map[string][]*corev1.Pod{}, memory: m,
		Resources:      map[string]corev1.ResourceName{},
		ScalingRefused: map[string]*lend.Problem{}, Notes: map[string][]string{},
		GPUNodes: map[string]*v1alpha1.GPUNode{}, Pins: map[string][]v1alpha1.PinnedSlices{}, Slices: map[string]*Slices{},
		Unplaceable: map[string]string{}, Queues: in.queues.Items, Quotas: in.quotas.Items, QuotaProblems: t.problems, Namespaces: t.namespaces(),
		Subtrees: t.subtrees,
	}
	for name, f := range t.flavors {
		v.Resources[name] = f.Resource
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
		// What cannot lend anyway need not be asked, and its writer may be no tenant at all.
		if l.target != "" && len(l.specs) > 0 && l.Problem == nil {
			slices.SortFunc(l.serving, func(a, b signal.Pod) int { return cmp.Compare(a.Name, b.Name) })
			targets = append(targets, signal.Target{
				Name: l.Name, Namespace: l.policy.Namespace, Tenant: l.Tenant, Workload: l.policy.Spec.TargetRef.Name, Specs: l.specs, Pods: l.serving,
			})
		}
	}
	g.Signals.Set(targets)
}

// loans fills in the open loans, and tells whose they are.
func (g *Gatherer) loans(ctx context.Context, v *View, r *rules, open []*loan) (covered map[types.UID]bool, err error) {
	s := &v.Snapshot
	covered = make(map[types.UID]bool, len(open))
	look := &finder{Gatherer: g, failed: map[schema.GroupKind]bool{}}
	for _, l := range open {
		uid := l.object.Spec.Job.UID
		covered[uid] = true
		job, err := look.jobOf(ctx, l, v.Job(uid))
		if err != nil {
			return nil, err
		}
		var priority int32
		if job != nil {
			priority = r.classes.of(job.Template.Spec.PriorityClassName)
		}
		s.Loans = append(s.Loans, l.finish(job, priority, s.Now))
		v.Pods[l.Name], v.Beside[l.Name] = l.pods, l.beside
	}
	return covered, nil
}

func (g *Gatherer) readLoans(ctx context.Context, into *v1alpha1.LoanList) error {
	if g.Loans != nil {
		return g.Loans.List(ctx, into)
	}
	if err := g.Live.List(ctx, into); err != nil {
		return fmt.Errorf("list %T: %w", into, err)
	}
	return nil
}

// readPolicies reads them as they are now: what is lent is written into their status under
// the precondition that nobody has written since. That advising is a policy's mode from here
// on keeps all that looks at policies from having to know.
func (g *Gatherer) readPolicies(ctx context.Context, into *v1alpha1.LendingPolicyList) error {
	if err := g.Live.List(ctx, into); err != nil {
		return fmt.Errorf("list %T: %w", into, err)
	}
	for i := range into.Items {
		if g.Advise {
			into.Items[i].Spec.Mode = v1alpha1.ModeAdvise
		}
	}
	return nil
}

func (g *Gatherer) read(ctx context.Context) (*inputs, error) {
	in := &inputs{}
	if err := g.readLoans(ctx, &in.loans); err != nil {
		return nil, err
	}
	if err := g.readPolicies(ctx, &in.policies); err != nil {
		return nil, err
	}
	var hpas autoscalingv2.HorizontalPodAutoscalerList
	for _, q := range []struct {
		from client.Reader
		into client.ObjectList
	}{
		{g.Cache, &in.nodes}, {g.Cache, &in.namespaces}, {g.Cache, &in.pods},
		{g.Cache, &in.replicaSets}, {g.Cache, &in.sets}, {g.Cache, &hpas}, {g.Cache, &in.classes},
		{g.Cache, &in.quotas}, {g.Cache, &in.queues}, {g.Cache, &in.resourceQuotas}, {g.Cache, &in.limitRanges},
	} {
		if err := q.from.List(ctx, q.into); err != nil {
			return nil, fmt.Errorf("list %T: %w", q.into, err)
		}
	}
	return in, g.readAutoscalers(ctx, in, hpas.Items)
}

func (g *Gatherer) readAutoscalers(ctx context.Context, in *inputs, hpas []autoscalingv2.HorizontalPodAutoscaler) error {
	found, err := g.Kinds.Read(ctx)
	if err != nil {
		return err
	}
	in.found, in.autoscalers = found, autoscaler.NewSet(hpas, found)
	if len(found.Owners()) == 0 {
		return nil
	}
	if err := g.Cache.List(ctx, &in.deployments); err != nil {
		return fmt.Errorf("list %T: %w", &in.deployments, err)
	}
	return nil
}
