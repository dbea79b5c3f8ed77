package ebbtide

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// sweepEvery is how often pods that are to go are looked for again: what an API
// error left, and what was being bound at the time.
const sweepEvery = time.Second

// What the owners of victims read. It names nobody.
const (
	lentMessage     = "The units lent to this job were taken back for an online service that owns them; save the work and stop. The job is queued again."
	outrankedJob    = "A pod of this job's own tenant with a higher priority needs the tenant's nominal quota; save the work and stop. The job is queued again."
	outrankedPod    = "A pod of the same tenant with a higher priority needs the tenant's nominal quota."
	withoutLoanText = "This pod runs without the loan that it was started on."
)

// taken remembers the loans and pods that this scheduler took units back from, until
// they are gone.
type taken struct {
	mu    sync.Mutex
	loans map[types.UID]*takenLoan
	pods  map[types.UID]*takenPod
	kick  chan struct{}
}

type takenLoan struct {
	loan    *v1alpha1.Loan
	message string
	// told are the pods that were told to stop.
	told map[types.UID]bool
	// suspended: so is their job.
	suspended bool
}

// takenPod is a single pod that has to go.
type takenPod struct {
	pod     *corev1.Pod
	message string
	told    bool
}

func newTaken() *taken {
	return &taken{
		loans: map[types.UID]*takenLoan{},
		pods:  map[types.UID]*takenPod{},
		kick:  make(chan struct{}, 1),
	}
}

// add returns false if the loan was known already.
func (t *taken) add(loan *v1alpha1.Loan, message string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.loans[loan.UID] != nil {
		return false
	}
	t.loans[loan.UID] = &takenLoan{loan: loan, message: message, told: map[types.UID]bool{}}
	t.wake()
	return true
}

// addPod returns false if the pod was known already.
func (t *taken) addPod(pod *corev1.Pod, message string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pods[pod.UID] != nil {
		return false
	}
	t.pods[pod.UID] = &takenPod{pod: pod, message: message}
	t.wake()
	return true
}

func (t *taken) wake() {
	select {
	case t.kick <- struct{}{}:
	default: // a sweep is due anyway
	}
}

// allPods returns the single pods by UID. Only the sweep uses what they hold.
func (t *taken) allPods() []*takenPod {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.SortedFunc(maps.Values(t.pods), func(a, b *takenPod) int {
		return strings.Compare(string(a.pod.UID), string(b.pod.UID))
	})
}

// podSet returns the UIDs of the single pods.
func (t *taken) podSet() map[types.UID]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[types.UID]bool, len(t.pods))
	for uid := range t.pods {
		out[uid] = true
	}
	return out
}

func (t *taken) hasPod(pod types.UID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pods[pod] != nil
}

func (t *taken) forgetPod(pod types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.pods, pod)
}

func (t *taken) has(loan types.UID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.loans[loan] != nil
}

func (t *taken) forget(loan types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.loans, loan)
}

// all returns the loans by UID. Only the sweep uses what they hold.
func (t *taken) all() []*takenLoan {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.SortedFunc(maps.Values(t.loans), func(a, b *takenLoan) int {
		return strings.Compare(string(a.loan.UID), string(b.loan.UID))
	})
}

// takenBack reports whether the scheduler took the loan back, also in an earlier
// life: then a pod of the loan still carries the mark, or the job does.
func (p *Ebbtide) takenBack(loan *v1alpha1.Loan) bool {
	if loan == nil {
		return false
	}
	return p.taken.has(loan.UID) || p.saysTakenBack(loan) ||
		slices.ContainsFunc(p.maybeOf(p.pods, loan), func(pod *corev1.Pod) bool { return marked(pod, loan) && p.isOf(pod, loan) })
}

// marked reports whether a scheduler told the pod to stop, for the sake of units
// of this very loan and not of one that its job had before. Pods that are a job
// themselves have waited for their only loan.
func marked(pod *corev1.Pod, loan *v1alpha1.Loan) bool {
	if pod.Annotations[v1alpha1.AnnotationReclaimBy] == "" || !gated(loan) && pod.CreationTimestamp.Before(&loan.CreationTimestamp) {
		return false
	}
	return v1alpha1.Preempted(pod)
}

// reclaim takes the whole loan back. The API calls are made beside the
// scheduling cycle; from here on the loan counts as leaving.
func (p *Ebbtide) reclaim(ctx context.Context, loan *v1alpha1.Loan, message string) {
	if !p.taken.add(loan, message) {
		return
	}
	p.stir(loan)
	takeBacksTotal.Inc()
	klog.FromContext(ctx).Info("Loan taken back", "loan", klog.KObj(loan), "units", v1alpha1.Units(loan.Held()))
}

// restore goes on with a loan that was taken back in an earlier life.
func (p *Ebbtide) restore(loan *v1alpha1.Loan) {
	if loan != nil && p.saysTakenBack(loan) && p.taken.add(loan, lentMessage) {
		p.stir(loan)
	}
}

// runReclaimer stops the pods of loans that were taken back, until ctx ends.
func (p *Ebbtide) runReclaimer(ctx context.Context) {
	ticker := p.clock.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.taken.kick:
		case <-ticker.C():
		}
		if err := p.sweep(ctx); err != nil {
			klog.FromContext(ctx).Error(err, "Cannot stop all pods of which units were taken back; will retry")
		}
	}
}

// sweep tells every live pod of every loan taken back to stop, and forgets loans
// that are gone. Reshapes are undone after that: of a loan that was told to stop the next
// life knows, and brings back what was made for it; whoever died the other way round would
// leave a loan running on what only waits to go.
func (p *Ebbtide) sweep(ctx context.Context) error {
	p.sweepGangs()
	p.forgetKin()
	p.sweepSilent(klog.FromContext(ctx))
	p.wakeStirred(klog.FromContext(ctx))
	var errs []error
	for _, t := range p.taken.all() {
		current := p.book.LoanOfJob(t.loan.Namespace, t.loan.Spec.Job.UID)
		if current == nil || current.UID != t.loan.UID {
			p.taken.forget(t.loan.UID)
			continue
		}
		errs = append(errs, p.stop(ctx, t, current))
		if !slices.ContainsFunc(p.gangOf(current), holds) && !p.hiddenIn(current) {
			// Its quota is free with its units, whether or not a broker runs to say so.
			p.wake(klog.FromContext(ctx), p.account.Release(current.UID))
		}
	}
	return errors.Join(append(errs, p.sweepPods(ctx), p.sweepUndos(ctx))...)
}

// hiddenIn reports whether a pod in the loan's namespace holds units of its resource of
// which it is not known yet whose they are: they may be the loan's.
func (p *Ebbtide) hiddenIn(loan *v1alpha1.Loan) bool {
	return slices.ContainsFunc(p.podsBy(cache.NamespaceIndex, loan.Namespace), func(pod *corev1.Pod) bool {
		if !holds(pod) || book.Units(pod, corev1.ResourceName(loan.Spec.Resource)) <= 0 || p.book.LoanOf(pod) != nil {
			return false
		}
		_, known := p.queued(pod)
		return !known
	})
}

func holds(pod *corev1.Pod) bool { return pod.Spec.NodeName != "" && !ended(pod) }

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// stop tells the loan's live pods to stop: first all of them get the notice and
// the mark, then the job is suspended, and then they are deleted, each with its
// grace. Suspended, the job makes no new pods and counts none of the old as done
// for exiting cleanly; but its controller deletes pods too, which must be marked
// by then. Without the suspension the rest goes on: the units are owed.
func (p *Ebbtide) stop(ctx context.Context, t *takenLoan, loan *v1alpha1.Loan) error {
	var errs []error
	graces := map[*corev1.Pod]int64{}
	told := p.toTell(t, loan)
	for _, pod := range told {
		seconds, err := p.announce(ctx, pod, loan, t.message)
		if err != nil {
			errs = append(errs, fmt.Errorf("evict pod %s: %w", klog.KObj(pod), err))
			continue
		}
		graces[pod] = seconds
	}
	// gofail: var podsMarked struct{}
	if !t.suspended && len(errs) == 0 {
		err := p.suspend(ctx, loan)
		if err != nil {
			errs = append(errs, fmt.Errorf("suspend job %s: %w", klog.KRef(loan.Namespace, loan.Spec.Job.Name), err))
		}
		t.suspended = err == nil
	}
	// gofail: var jobSuspended struct{}
	for _, pod := range told {
		seconds, announced := graces[pod]
		if !announced {
			continue
		}
		if err := p.delete(ctx, pod, seconds, t.message); err != nil {
			errs = append(errs, fmt.Errorf("evict pod %s: %w", klog.KObj(pod), err))
			continue
		}
		t.told[pod.UID] = true
	}
	return errors.Join(errs...)
}

// toTell returns the loan's pods that hold units for longer than they may, and
// turns those away that have no node yet.
func (p *Ebbtide) toTell(t *takenLoan, loan *v1alpha1.Loan) []*corev1.Pod {
	now := p.clock.Now()
	var tell []*corev1.Pod
	for _, pod := range p.gangOf(loan) {
		due, leaving := p.due(pod, loan, now)
		switch {
		case t.told[pod.UID] || ended(pod):
		case leaving && !due.After(now.Add(p.longestGrace(loan)+slack)):
		case pod.Spec.NodeName == "":
			p.turnAway(pod)
		default:
			tell = append(tell, pod)
		}
	}
	return tell
}

// sweepPods tells single pods to stop, once each, and forgets those that are seen to
// be going or gone.
func (p *Ebbtide) sweepPods(ctx context.Context) error {
	var errs []error
	for _, t := range p.taken.allPods() {
		current, exists := p.current(t.pod)
		switch {
		case !exists || ended(current) || t.told && current.DeletionTimestamp != nil:
			p.taken.forgetPod(t.pod.UID)
		case !t.told:
			err := p.evict(ctx, t.pod, nil, t.message)
			if err != nil {
				errs = append(errs, fmt.Errorf("evict pod %s: %w", klog.KObj(t.pod), err))
			}
			t.told = err == nil
		}
	}
	return errors.Join(errs...)
}

// current returns the pod's present state, and whether that very pod exists.
func (p *Ebbtide) current(pod *corev1.Pod) (*corev1.Pod, bool) {
	obj, exists, err := p.pods.GetByKey(pod.Namespace + "/" + pod.Name)
	if err != nil || !exists {
		return nil, false
	}
	current, ok := obj.(*corev1.Pod)
	return current, ok && current.UID == pod.UID
}
