package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/demand"
	"github.com/ebbtide/ebbtide/broker/internal/extmetrics"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/gpunodes"
	"github.com/ebbtide/ebbtide/broker/internal/history"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/internal/loans"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

// LeaseName is the Lease, in the broker's namespace, that elects the leader.
const LeaseName = "ebbtide-broker"

// Scheme has every kind that the broker reads or writes.
func Scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}

// Run runs a broker until ctx ends, the lease is lost or it must stop. kubeconfig is the
// file that restConfig was read from; empty in a cluster.
func Run(ctx context.Context, restConfig *rest.Config, kubeconfig, namespace string, c Config) error {
	mgr, err := newManager(restConfig, namespace, &c)
	if err != nil {
		return err
	}
	b := &broker{
		mgr: mgr, config: c, namespace: namespace, clock: clock.RealClock{}, wakes: newWakes(),
		wanted: extmetrics.Board{Clock: clock.RealClock{}, Interval: c.Interval.Duration},
	}
	b.board = &Board{leader: b.leader}
	b.metrics = NewMetrics(metrics.Registry, b.clock, c.Interval.Duration)
	if err := b.readiness(); err != nil {
		return err
	}
	if b.replication, err = b.newReplication(restConfig); err != nil {
		return err
	}
	if err := b.watch(ctx); err != nil {
		return err
	}
	if err := b.serveDemand(kubeconfig); err != nil {
		return err
	}
	if err := mgr.Add(manager.RunnableFunc(b.lead)); err != nil {
		return fmt.Errorf("add the loop: %w", err)
	}
	return b.serving(ctx, restConfig, func(ctx context.Context) error {
		if err := mgr.Start(ctx); err != nil {
			return fmt.Errorf("run the broker: %w", err)
		}
		return nil
	})
}

// broker is a process.
type broker struct {
	mgr       manager.Manager
	config    Config
	namespace string
	clock     clock.WithTicker
	wakes     wakes
	board     *Board
	metrics   *Metrics
	disrupted gather.Disrupted
	setbacks  gather.Setbacks
	resources resources
	// chains knows who made pods.
	chains lineage.Lineage
	jobs   *jobs.Set
	batch  *jobs.Batch
	kinds  *kinds
	// seen report whether the watches have looked at all that there was.
	seen []toolscache.InformerSynced
	// wanted is the training demand of the last decision.
	wanted extmetrics.Board
	// replication is nil where the ledger has no followers.
	replication *replication
}

// watch prepares the kinds of jobs, and has all changes looked at.
func (b *broker) watch(ctx context.Context) error {
	c, live := b.mgr.GetClient(), b.mgr.GetAPIReader()
	b.batch = &jobs.Batch{Live: live, Client: c, Status: c.Status()}
	b.jobs = jobs.NewSet(jobs.Clients{Live: live, Client: c, Status: c.Status(), Clock: b.clock}, &b.chains, b.batch)
	w := &watcher{disrupted: &b.disrupted, resources: &b.resources, chains: &b.chains, jobs: b.jobs, poke: b.wakes.poke}
	served, err := servedBy(b.mgr.GetConfig())
	if err != nil {
		return err
	}
	b.kinds = newKinds(b.mgr.GetCache(), served, w, b.clock)
	b.kinds.stores(b.jobs)
	b.seen, err = watch(ctx, b.mgr.GetCache(), w)
	return err
}

// readiness follows the caches.
func (b *broker) readiness() error {
	// Followers are ready too, so this waits on every replica.
	err := b.mgr.Add(everywhere(func(ctx context.Context) error {
		if b.mgr.GetCache().WaitForCacheSync(ctx) {
			b.board.setSynced()
		}
		return nil
	}))
	if err != nil {
		return fmt.Errorf("add the wait for the caches: %w", err)
	}
	return nil
}

// lead is the life of a leader.
func (b *broker) lead(ctx context.Context) (err error) {
	log := b.mgr.GetLogger()
	ctx = logr.NewContext(ctx, log)
	// 1. Nothing is decided on half a cluster.
	if !b.mgr.GetCache().WaitForCacheSync(ctx) || !toolscache.WaitForCacheSync(ctx.Done(), b.seen...) {
		return nil
	}
	b.kinds.begin(ctx)
	// 2. A damaged ledger stops the process before anything is written.
	if err := b.promote(ctx); err != nil {
		return err
	}
	book, err := b.openLedger(ctx)
	if err != nil {
		return err
	}
	b.board.setLedger(book)
	defer func() {
		b.board.setLedger(nil)
		err = errors.Join(err, book.Close())
	}()
	// 3. Which leader is this, and has it all that was published?
	outside, epoch, err := b.beginEpoch(ctx, book)
	if err != nil {
		return err
	}
	if err := b.stores(ctx); err != nil {
		return err
	}
	shown, err := b.shown(ctx)
	if err != nil {
		return err
	}
	own := &loans.Loans{Cache: b.mgr.GetCache(), Live: b.mgr.GetAPIReader(), Shown: shown}
	actuator := b.newActuator(book, epoch, own.Writer(b.mgr.GetClient()))
	actuator.Gap, actuator.MayLend = outside.gap, outside.mayLend
	// 4. What was intended, and what is?
	if err := actuator.Start(ctx); err != nil {
		return fmt.Errorf("reconcile the ledger: %w", err)
	}
	serve, err := b.replication.lead(ctx, book, actuator, outside)
	if err != nil {
		return err
	}
	defer serve()
	if err := outside.publish(ctx, epoch); err != nil {
		return err
	}
	seq, hash := book.Head()
	log.Info("Leading", "epoch", epoch, "ledgerSeq", seq, "ledgerHead", hash.String())
	return b.decide(ctx, actuator, book, own, outside)
}

// decide runs the loop, and what is asked in the background.
func (b *broker) decide(ctx context.Context, actuator *actuate.Actuator, book *segments.Set, own *loans.Loans, outside *outside) (err error) {
	tide, err := b.newTide()
	if err != nil {
		return err
	}
	defer tide.run(ctx, b)()
	b.board.setLoads(&loads{demand: tide.demand, store: tide.past})
	defer b.board.setLoads(nil)
	defer b.metrics.learn(func() []demand.Learned { return tide.demand.Learned(b.clock.Now()) })()
	record, err := openRecorder(b.config.Record)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, record.close()) }()
	defer actuator.Hooks.Wait() // no longer than one call takes
	actuator.Reclaimed = func(loan *v1alpha1.Loan, how course.Reclaim) {
		b.metrics.reclaimed(&how)
		tide.reclaimed(loan, how)
	}
	gpus := &gpunodes.Nodes{Cache: b.mgr.GetCache(), Live: b.mgr.GetAPIReader()}
	recallCosts(gpus, book, b.mgr.GetLogger())
	actuator.GPUs, actuator.Reshaped = gpus, b.metrics.reshaped
	defer b.guarded(ctx, actuator, book)()
	defer b.scrubbed(ctx, actuator, book)()
	past := history.New(b.config.FairSharing.HalfLife.Duration)
	l := &loop{
		gatherer: &gather.Gatherer{
			Cache: reader{b.mgr.GetCache(), b.kinds}, Live: b.mgr.GetAPIReader(), Advise: b.config.Advise, Scales: b.mgr.GetClient(), Loans: own,
			Jobs: b.jobs, Chains: &b.chains, Signals: tide.poller, YoungReplica: b.config.Signals.YoungReplica.Duration,
			Disrupted: &b.disrupted, Setbacks: &b.setbacks, History: past,
			Kinds: tide.kinds, Backends: b.config.Signals.Backends,
			Demand: tide.memory(b.config.Signals.Forecast), Hooks: tide.hooks,
			GPUs: gpus, Reshapes: gather.ReshapeCosts{Change: b.config.Reshape.AssumedChange.Duration, Undo: b.config.Reshape.AssumedUndo.Duration},
		},
		actuator: actuator, ledger: book, outside: outside, policy: b.config.Lend(), history: past, tide: tide,
		clock: b.clock, actTimeout: b.config.LeaderElection.acting(), board: b.board, record: record, metrics: b.metrics, resources: &b.resources, wanted: &b.wanted,
		pace: &pace{
			wakes: b.wakes, interval: b.config.Interval.Duration, debounce: b.config.Debounce.Duration, clock: b.clock,
		},
	}
	if l.state, err = history.Recall(book, l.policy, b.clock.Now()); err != nil {
		return err
	}
	b.wakes.poke(atOnce)
	return l.run(ctx)
}

// stores gives the kinds that every cluster has their informers' stores.
func (b *broker) stores(ctx context.Context) (err error) {
	if b.batch.Store, err = b.store(ctx, &batchv1.Job{}); err != nil {
		return err
	}
	if pods, is := b.jobs.Of(corev1.SchemeGroupVersion.WithKind("Pod").GroupKind()).(*jobs.Gated); is {
		pods.Store, err = b.store(ctx, &corev1.Pod{})
	}
	return err
}

// store is that of the objects' informer.
func (b *broker) store(ctx context.Context, like client.Object) (jobs.Store, error) {
	informer, err := b.mgr.GetCache().GetInformer(ctx, like)
	if err != nil {
		return nil, fmt.Errorf("find the informer of a %T: %w", like, err)
	}
	if shared, ok := informer.(toolscache.SharedInformer); ok {
		return shared.GetStore(), nil
	}
	return nil, nil // then they are listed through the cache
}

// shown tells what the Loans' informer has seen.
func (b *broker) shown(ctx context.Context) (func() string, error) {
	informer, err := b.mgr.GetCache().GetInformer(ctx, &v1alpha1.Loan{})
	if err != nil {
		return nil, fmt.Errorf("find the informer of Loans: %w", err)
	}
	if shared, ok := informer.(toolscache.SharedInformer); ok {
		return shared.GetStore().LastStoreSyncResourceVersion, nil
	}
	return func() string { return "" }, nil // then they are read from the API server
}

func (b *broker) newActuator(book actuate.Ledger, epoch int64, c client.Client) *actuate.Actuator {
	return &actuate.Actuator{
		Client: c, Live: b.mgr.GetAPIReader(),
		Jobs:     b.jobs,
		Chains:   &b.chains,
		Teller:   b.jobs,
		Ledger:   book,
		Events:   &actuate.Events{Recorder: b.mgr.GetEventRecorder("ebbtide-broker")},
		Clock:    b.clock,
		Hooks:    &actuate.Hooks{},
		Setbacks: &b.setbacks,
		Epoch:    epoch,

		QuarantineAfter: b.config.Policy.QuarantineAfter.Duration,
	}
}

func (b *broker) lease(ctx context.Context) (*coordinationv1.Lease, error) {
	var lease coordinationv1.Lease
	key := types.NamespacedName{Namespace: b.namespace, Name: LeaseName}
	if err := b.mgr.GetAPIReader().Get(ctx, key, &lease); err != nil {
		return nil, fmt.Errorf("read lease %s: %w", key, err)
	}
	return &lease, nil
}

// leader is who leads, empty if that cannot be read now.
func (b *broker) leader() string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	lease, err := b.lease(ctx)
	if err != nil {
		return ""
	}
	return ptr.Deref(lease.Spec.HolderIdentity, "")
}

// everywhere is a runnable for every replica, leader or not.
type everywhere func(ctx context.Context) error

func (f everywhere) Start(ctx context.Context) error { return f(ctx) }
func (everywhere) NeedLeaderElection() bool          { return false }
