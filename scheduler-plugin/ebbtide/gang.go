package ebbtide

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// gangs remembers which pods of which loan have a place that the API server may
// not show yet. After a restart it is empty: the pods that were bound are then
// known from the API, and those that were not start over.
type gangs struct {
	mu sync.Mutex
	// placed holds, by loan UID and pod UID, when the pod got its place.
	placed map[types.UID]map[types.UID]time.Time
}

func newGangs() *gangs { return &gangs{placed: map[types.UID]map[types.UID]time.Time{}} }

func (g *gangs) place(loan, pod types.UID, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.placed[loan] == nil {
		g.placed[loan] = map[types.UID]time.Time{}
	}
	g.placed[loan][pod] = now
}

// release forgets the pod's place, and says since when it had it.
func (g *gangs) release(loan, pod types.UID) (since time.Time, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	since, ok = g.placed[loan][pod]
	delete(g.placed[loan], pod)
	if len(g.placed[loan]) == 0 {
		delete(g.placed, loan)
	}
	return since, ok
}

// forgetPod drops a pod that no longer exists.
func (g *gangs) forgetPod(pod types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for loan, pods := range g.placed {
		if delete(pods, pod); len(pods) == 0 {
			delete(g.placed, loan)
		}
	}
}

// members returns the loan's placed pods, sorted.
func (g *gangs) members(loan types.UID) []types.UID {
	g.mu.Lock()
	defer g.mu.Unlock()
	uids := make([]types.UID, 0, len(g.placed[loan]))
	for uid := range g.placed[loan] {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	return uids
}

// Reserve notes that the pod has a place.
func (p *Ebbtide) Reserve(_ context.Context, state fwk.CycleState, pod *corev1.Pod, _ string) *fwk.Status {
	if c, ok := readCycle(state); ok && c.loan != nil {
		p.gangs.place(c.loan.UID, pod.UID, p.clock.Now())
	}
	return nil
}

// Unreserve takes the pod's place back, and with it those of its gang that still
// wait: a gang that lost one member must not bind the rest.
func (p *Ebbtide) Unreserve(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, _ string) {
	c, ok := readCycle(state)
	if !ok || c.loan == nil {
		return
	}
	since, ok := p.gangs.release(c.loan.UID, pod.UID)
	if !ok {
		return // a sibling already broke the gang up
	}
	if waited := p.clock.Since(since); waited >= p.args.GangTimeout && p.present(c.loan, pod.UID) < int64(c.loan.Spec.Pods) {
		gangTimeoutsTotal.Inc()
		klog.FromContext(ctx).Info("Gang timed out", "loan", klog.KObj(c.loan), "waited", waited)
	}
	p.rejectWaiting(c.loan, "another pod of the gang lost its place")
}

// rejectWaiting turns the loan's waiting pods away from Permit.
func (p *Ebbtide) rejectWaiting(loan *v1alpha1.Loan, reason string) {
	for _, uid := range p.gangs.members(loan.UID) {
		// Released first, so that its own Unreserve finds the gang broken up.
		if waiting := p.handle.GetWaitingPod(uid); waiting != nil {
			p.gangs.release(loan.UID, uid)
			waiting.Reject(Name, reason)
		}
	}
}

// Permit lets the gang's pods wait until all of them have a place, and then
// lets all of them go.
func (p *Ebbtide) Permit(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, _ string) (*fwk.Status, time.Duration) {
	c, ok := readCycle(state)
	if !ok || c.loan == nil {
		return nil, 0
	}
	loan := p.book.LoanOf(pod)
	if reason := whyNoLoan(loan, p.takenBack(loan)); reason != "" {
		return fwk.NewStatus(fwk.Unschedulable, reason), 0
	}
	if have, want := p.present(loan, pod.UID)+1, int64(loan.Spec.Pods); have < want {
		// Siblings that failed earlier are worth another try now.
		p.activate(klog.FromContext(ctx), p.pendingOf(loan))
		return fwk.NewStatus(fwk.Wait, fmt.Sprintf("%d of the %d pods of the gang have a place", have, want)), p.args.GangTimeout
	}
	for _, uid := range p.gangs.members(loan.UID) {
		if waiting := p.handle.GetWaitingPod(uid); waiting != nil {
			waiting.Allow(Name)
		}
	}
	return nil, 0
}

// present counts the gang's pods, other than the given one, that have a place,
// run or have succeeded.
func (p *Ebbtide) present(loan *v1alpha1.Loan, except types.UID) int64 {
	var done int64
	if job, err := p.jobs.Jobs(loan.Namespace).Get(loan.Spec.Job.Name); err == nil && job.UID == loan.Spec.Job.UID {
		done = int64(job.Status.Succeeded)
	}
	return countPresent(p.podsOf(loan), p.gangs.members(loan.UID), except) + done
}

// countPresent counts each pod once that is bound and alive, or placed.
func countPresent(pods []*corev1.Pod, placed []types.UID, except types.UID) int64 {
	seen := map[types.UID]bool{}
	for _, pod := range pods {
		alive := pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
		if alive && pod.Spec.NodeName != "" {
			seen[pod.UID] = true
		}
	}
	for _, uid := range placed {
		seen[uid] = true
	}
	delete(seen, except)
	return int64(len(seen))
}
