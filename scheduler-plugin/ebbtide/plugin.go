// Package ebbtide is the kube-scheduler plugin that enforces quota and loans at
// placement. It never lends: it places what the broker admitted, and takes units
// back for online pods by itself, with or without a broker running.
//
// A pod that asks for a flavor's resource is one of two kinds. A pod of a queued job
// needs an open Loan for the exact UID of a job in its chain of controllers, for itself
// or for the group of pods that it names, and runs as a gang on the loan's nodes. As long
// as the chain is not known to its end the pod waits. Every other pod, a bare pod, runs within its tenant's
// nominal quota or waits, with the others of its PodGroup if it is of one; one at
// or above the priority of ebbtide-online is online. Pods that ask for no such
// resource are none of the plugin's business.
//
// What it guarantees, whatever a tenant writes on its objects:
//
//   - No pod is placed beyond its tenant's nominal quota or its loan's grants.
//   - A gang is bound whole or not at all.
//   - A bare pod within quota waits no longer for lent units than takeBackAfter plus
//     the grace its lender allows; only whole loans with a grant that is not their
//     tenant's own are evicted for it, no more of them than needed, and none where
//     units are already coming free.
//   - Where the nominal quota itself is full, only pods and jobs of the same tenant
//     with a lower priority make way, and no more of them than needed.
//   - A loan that was taken back gets no new pods.
//   - What an open loan grants, and what was taken back for a job that has yet to be
//     admitted (see holdList), is not for bare pods below online priority.
//   - Where a node's agent tells of its slices one by one, a pod gets those that are
//     nobody's and are for the like of it (see package slices), and carries their names.
//     No pod on a loan is given one that is pinned, nor are there ever more of them than
//     the pinned ones leave.
//   - Units that a GPU was reshaped from come back for a bare pod within quota as lent
//     ones do: what was made of them is undone, first where nobody uses it.
//   - Where nodes are alike to loans, an online pod goes to the first pool of its
//     LendingPolicy that has room.
//   - A pod that was cut off from the job it was started for holds its units only
//     until a pod within quota wants them.
//
// What it refuses: to guess. A namespace with no tenant or with two, a priority
// class that does not exist, a pod that does not match its loan wait with a
// reason. Online pods come first: one may take a unit that is free although an
// admitted loan counts on it; the loan's gang then waits in Permit until it times
// out, and the broker, which sees both, sorts it out.
//
// Exactly one scheduler may place pods on nodes with such resources. Any of its
// profiles may enable the plugin; they share one (see Factory). In such a profile
// DefaultPreemption must be disabled, or stand behind the plugin, which keeps it
// from pods that ask for such resources: it would break gangs.
//
// All scheduling-cycle methods run on one goroutine; informer handlers and the
// evictions run beside them, and the state they share is locked.
package ebbtide

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	schedulinglisters "k8s.io/client-go/listers/scheduling/v1alpha2"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/broker/lineage"
	config "github.com/ebbtide/ebbtide/scheduler-plugin/config/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/account"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/kin"
)

// Name is the plugin's name in a KubeSchedulerConfiguration.
const Name = "Ebbtide"

// syncPatience bounds how long New waits for the API server to list loans and
// quotas.
const syncPatience = time.Minute

// Ebbtide implements the framework's extension points, one file for each.
type Ebbtide struct {
	handle  fwk.Handle
	args    config.EbbtideArgs
	clock   clock.WithTickerAndDelayedExecution
	book    *book.Book
	account *account.Account
	pods    cache.Indexer
	// succeeded are pods of queued jobs, which are not among pods any more.
	succeeded cache.Indexer
	// policies are the LendingPolicies that have pools; empty where they cannot be read.
	policies cache.Indexer
	jobs     batchlisters.JobLister
	// chains knows whose pod a pod is; kin are the objects between pods and jobs that
	// are watched for it beside those that every cluster has.
	chains  *lineage.Lineage
	kin     *kin.Kin
	objects *objects
	said    *said
	budgets policylisters.PodDisruptionBudgetLister
	// groups is nil where the API server does not serve PodGroups.
	groups  schedulinglisters.PodGroupLister
	gangs   *gangs
	waiting *waiting
	blocked *blocked
	taken   *taken
	holds   *holdList
	cards   *cards
	live    *live
	undos   *undos
	gaps    *gaps
	stirs   *stirs
	// profiles that are served beside that of the handle.
	profiles profiles
	// heard are the event handlers that must have seen the start before a pod is
	// judged.
	heard []cache.InformerSynced
	ready atomic.Bool
}

var (
	_ fwk.PreEnqueuePlugin  = &Ebbtide{}
	_ fwk.EnqueueExtensions = &Ebbtide{}
	_ fwk.PreFilterPlugin   = &Ebbtide{}
	_ fwk.FilterPlugin      = &Ebbtide{}
	_ fwk.PostFilterPlugin  = &Ebbtide{}
	_ fwk.PreScorePlugin    = &Ebbtide{}
	_ fwk.ScorePlugin       = &Ebbtide{}
	_ fwk.ReservePlugin     = &Ebbtide{}
	_ fwk.PermitPlugin      = &Ebbtide{}
	_ fwk.PreBindPlugin     = &Ebbtide{}
	_ fwk.PostBindPlugin    = &Ebbtide{}
)

// newPlugin makes the plugin and waits until it has read all loans and quotas. It
// fails on arguments it cannot read, and when the API server does not answer within
// a minute.
func newPlugin(ctx context.Context, obj runtime.Object, handle fwk.Handle) (*Ebbtide, error) {
	args, err := config.Decode(obj)
	if err != nil {
		return nil, err
	}
	watches, err := book.NewWatches(handle.KubeConfig())
	if err != nil {
		return nil, err
	}
	factory := handle.SharedInformerFactory()
	podInformer := factory.Core().V1().Pods().Informer()
	if err := podInformer.AddIndexers(podIndexers()); err != nil {
		return nil, fmt.Errorf("index pods: %w", err)
	}
	succeeded := succeededPods(handle.ClientSet())
	api, chains := handle.ClientSet().Discovery(), &lineage.Lineage{}
	objects, err := newObjects(handle.KubeConfig(), api)
	if err != nil {
		return nil, err
	}
	p := &Ebbtide{
		handle:    handle,
		args:      *args,
		clock:     clock.RealClock{},
		book:      book.New(watches.Loans.GetIndexer(), factory.Scheduling().V1().PriorityClasses().Lister(), chains),
		account:   account.New(chains),
		chains:    chains,
		objects:   objects,
		said:      newSaid(),
		pods:      podInformer.GetIndexer(),
		succeeded: succeeded.GetIndexer(),
		policies:  watches.Policies.GetIndexer(),
		jobs:      factory.Batch().V1().Jobs().Lister(),
		budgets:   factory.Policy().V1().PodDisruptionBudgets().Lister(),
		gangs:     newGangs(),
		waiting:   newWaiting(),
		blocked:   newBlocked(),
		taken:     newTaken(),
		holds:     newHolds(),
		cards:     newCards(),
		live:      newLive(watches.Loan),
		undos:     newUndos(),
		gaps:      newGaps(),
		stirs:     newStirs(),
	}
	p.kin = &kin.Kin{Resources: kinResources(), Client: objects.metadata, API: api, Clock: p.clock, Changed: p.onKin(klog.FromContext(ctx))}
	served, err := podGroupsServed(api)
	if err != nil {
		return nil, err
	}
	if served {
		p.groups = factory.Scheduling().V1alpha2().PodGroups().Lister()
	}
	if err := p.listen(ctx, watches, succeeded); err != nil {
		return nil, err
	}
	if err := watches.Start(ctx, syncPatience); err != nil {
		return nil, err
	}
	go succeeded.RunWithContext(ctx)
	go p.kin.Run(ctx)
	go p.runReader(ctx)
	go p.runReclaimer(ctx)
	return p, nil
}

// Name returns the plugin's name.
func (p *Ebbtide) Name() string { return Name }
