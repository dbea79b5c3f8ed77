package ebbtide

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
)

const (
	// sweepEvery is how often pods of loans that were taken back are looked for
	// again: what an API error left, and what was being bound at the time.
	sweepEvery = time.Second
	// reclaimMessage is read by the victim's owner. It names nobody.
	reclaimMessage = "The units lent to this job were taken back for an online service that owns them; save the work and stop. The job is queued again."
)

// taken remembers the loans that this scheduler took back, until they are gone.
type taken struct {
	mu     sync.Mutex
	loans  map[types.UID]*takenLoan
	strays map[types.UID]*corev1.Pod
	kick   chan struct{}
}

type takenLoan struct {
	loan *v1alpha1.Loan
	// told are the pods that were told to stop.
	told map[types.UID]bool
}

func newTaken() *taken {
	return &taken{
		loans:  map[types.UID]*takenLoan{},
		strays: map[types.UID]*corev1.Pod{},
		kick:   make(chan struct{}, 1),
	}
}

// add returns false if the loan was known already.
func (t *taken) add(loan *v1alpha1.Loan) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.loans[loan.UID] != nil {
		return false
	}
	t.loans[loan.UID] = &takenLoan{loan: loan, told: map[types.UID]bool{}}
	t.wake()
	return true
}

// addStray adds a single pod that needs a loan and has none.
func (t *taken) addStray(pod *corev1.Pod) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.strays[pod.UID] = pod
	t.wake()
}

func (t *taken) wake() {
	select {
	case t.kick <- struct{}{}:
	default: // a sweep is due anyway
	}
}

// allStrays returns the strays by UID.
func (t *taken) allStrays() []*corev1.Pod {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.SortedFunc(maps.Values(t.strays), func(a, b *corev1.Pod) int {
		return strings.Compare(string(a.UID), string(b.UID))
	})
}

func (t *taken) forgetStray(pod types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.strays, pod)
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
// life: then a pod of the loan still carries the mark.
func (p *Ebbtide) takenBack(loan *v1alpha1.Loan) bool {
	if loan == nil {
		return false
	}
	return p.taken.has(loan.UID) || slices.ContainsFunc(p.podsOf(loan), func(pod *corev1.Pod) bool { return marked(pod, loan) })
}

// marked reports whether a scheduler told the pod to stop, for the sake of units
// of this very loan and not of one that its job had before.
func marked(pod *corev1.Pod, loan *v1alpha1.Loan) bool {
	if pod.Annotations[v1alpha1.AnnotationReclaimBy] == "" || pod.CreationTimestamp.Before(&loan.CreationTimestamp) {
		return false
	}
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonPreemptionByScheduler
	})
}

// reclaim takes the whole loan back. The API calls are made beside the
// scheduling cycle; from here on the loan counts as leaving.
func (p *Ebbtide) reclaim(ctx context.Context, loan *v1alpha1.Loan) {
	if !p.taken.add(loan) {
		return
	}
	takeBacksTotal.Inc()
	klog.FromContext(ctx).Info("Loan taken back", "loan", klog.KObj(loan), "units", int64(loan.Spec.Pods)*loan.Spec.UnitsPerPod)
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
			klog.FromContext(ctx).Error(err, "Cannot stop all pods of loans that were taken back; will retry")
		}
	}
}

// sweep tells every live pod of every loan taken back to stop, and forgets loans
// that are gone.
func (p *Ebbtide) sweep(ctx context.Context) error {
	var errs []error
	for _, t := range p.taken.all() {
		current := p.book.LoanOfJob(t.loan.Namespace, t.loan.Spec.Job.UID)
		if current == nil || current.UID != t.loan.UID {
			p.taken.forget(t.loan.UID)
			continue
		}
		errs = append(errs, p.stop(ctx, t, current))
	}
	return errors.Join(append(errs, p.sweepStrays(ctx))...)
}

// stop tells the loan's live pods to stop: first all of them get the notice and
// the mark, and then they are deleted, each with its grace. A job that ends over
// the first deletion finds the others marked.
func (p *Ebbtide) stop(ctx context.Context, t *takenLoan, loan *v1alpha1.Loan) error {
	var errs []error
	graces := map[*corev1.Pod]int64{}
	told := p.toTell(t, loan)
	for _, pod := range told {
		seconds, err := p.announce(ctx, pod, loan)
		if err != nil {
			errs = append(errs, fmt.Errorf("evict pod %s: %w", klog.KObj(pod), err))
			continue
		}
		graces[pod] = seconds
	}
	for _, pod := range told {
		seconds, announced := graces[pod]
		if !announced {
			continue
		}
		if err := p.delete(ctx, pod, seconds); err != nil {
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
	for _, pod := range p.podsOf(loan) {
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

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func (p *Ebbtide) sweepStrays(ctx context.Context) error {
	var errs []error
	for _, pod := range p.taken.allStrays() {
		if err := p.evict(ctx, pod, nil); err != nil {
			errs = append(errs, fmt.Errorf("evict pod %s: %w", klog.KObj(pod), err))
			continue
		}
		p.taken.forgetStray(pod.UID)
	}
	return errors.Join(errs...)
}

// turnAway stops a pod that has no node yet from getting one.
func (p *Ebbtide) turnAway(pod *corev1.Pod) {
	const reason = "the units lent to this job were taken back"
	if waiting := p.handle.GetWaitingPod(pod.UID); waiting != nil {
		waiting.Reject(Name, reason)
		return
	}
	// If it is too late to cancel, the next sweep finds the pod bound.
	if binding := p.handle.GetPodInPreBind(pod.UID); binding != nil {
		binding.CancelPod(reason)
	}
}

// evict tells one pod to stop. loan is nil if it has none.
func (p *Ebbtide) evict(ctx context.Context, pod *corev1.Pod, loan *v1alpha1.Loan) error {
	seconds, err := p.announce(ctx, pod, loan)
	if err != nil {
		return err
	}
	return p.delete(ctx, pod, seconds)
}

// announce gives the pod the early notice and the mark, and returns how long it
// may take to stop. A pod that is gone is no error.
func (p *Ebbtide) announce(ctx context.Context, pod *corev1.Pod, loan *v1alpha1.Loan) (seconds int64, err error) {
	now := p.clock.Now()
	seconds = graceSeconds(pod, loan, p.longestGrace(loan), now)
	if err := p.unlessGone(pod, p.notice(ctx, pod, now.Add(time.Duration(seconds)*time.Second))); err != nil {
		return 0, err
	}
	return seconds, p.unlessGone(pod, p.mark(ctx, pod, now))
}

// delete deletes the pod with a grace; one that is being deleted already with a
// longer grace gets the shorter one. A pod that is gone is no error.
func (p *Ebbtide) delete(ctx context.Context, pod *corev1.Pod, seconds int64) error {
	err := p.handle.ClientSet().CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &seconds,
		Preconditions:      &metav1.Preconditions{UID: &pod.UID},
	})
	if err != nil {
		return p.unlessGone(pod, err)
	}
	evictedPodsTotal.Inc()
	p.handle.EventRecorder().Eventf(pod, nil, corev1.EventTypeNormal, lend.ReasonPreempted, "TakingBack", reclaimMessage)
	return nil
}

// unlessGone returns the error of a call for the pod, or nil if the call failed
// only because the pod is gone.
func (p *Ebbtide) unlessGone(pod *corev1.Pod, err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) && p.replaced(pod) {
		return nil
	}
	return err
}

// replaced reports whether another pod has the pod's name by now.
func (p *Ebbtide) replaced(pod *corev1.Pod) bool {
	obj, exists, err := p.pods.GetByKey(pod.Namespace + "/" + pod.Name)
	if err != nil || !exists {
		return err == nil
	}
	current, ok := obj.(*corev1.Pod)
	return ok && current.UID != pod.UID
}

// longestGrace returns what the loan's lenders and the plugin's maxGrace leave of
// any pod's grace; loan may be nil.
func (p *Ebbtide) longestGrace(loan *v1alpha1.Loan) time.Duration {
	if loan != nil && loan.Spec.MaxGrace.Duration > 0 {
		return min(loan.Spec.MaxGrace.Duration, p.args.MaxGrace)
	}
	return p.args.MaxGrace
}

// graceSeconds returns how long the pod may take to stop: its own grace, but no
// more than longest nor than the broker granted; at least a second, so that the
// node sees the pod end. loan may be nil.
func graceSeconds(pod *corev1.Pod, loan *v1alpha1.Loan, longest time.Duration, now time.Time) int64 {
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if own := pod.Spec.TerminationGracePeriodSeconds; own != nil {
		grace = *own
	}
	grace = min(grace, int64(longest/time.Second))
	if loan != nil && loan.Status.ReclaimBy != nil {
		grace = min(grace, int64(loan.Status.ReclaimBy.Sub(now)/time.Second))
	}
	return max(grace, 1)
}

// notice writes the time by which the pod will be gone where the pod can read it.
func (p *Ebbtide) notice(ctx context.Context, pod *corev1.Pod, by time.Time) error {
	return p.patch(ctx, pod, types.MergePatchType, map[string]any{
		"metadata": map[string]any{
			"uid":         pod.UID,
			"annotations": map[string]string{v1alpha1.AnnotationReclaimBy: by.UTC().Format(time.RFC3339)},
		},
	})
}

// mark writes the condition that a Job's podFailurePolicy can ignore.
func (p *Ebbtide) mark(ctx context.Context, pod *corev1.Pod, now time.Time) error {
	return p.patch(ctx, pod, types.StrategicMergePatchType, map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status": map[string]any{"conditions": []corev1.PodCondition{{
			Type:               corev1.DisruptionTarget,
			Status:             corev1.ConditionTrue,
			Reason:             corev1.PodReasonPreemptionByScheduler,
			Message:            reclaimMessage,
			LastTransitionTime: metav1.NewTime(now),
		}}},
	}, "status")
}

func (p *Ebbtide) patch(ctx context.Context, pod *corev1.Pod, kind types.PatchType, body any, subresources ...string) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the patch: %w", err)
	}
	_, err = p.handle.ClientSet().CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, kind, data, metav1.PatchOptions{}, subresources...)
	return err
}
