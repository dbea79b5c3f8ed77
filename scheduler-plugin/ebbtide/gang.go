package ebbtide

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// gangs remembers which pods of which loan have a place that the API server may
// not show yet. After a restart it is empty: the pods that were bound are then
// known from the API, and those that were not start over.
type gangs struct {
	mu    sync.Mutex
	loans map[types.UID]*gang
}

type gang struct {
	placed map[types.UID]bool
	// alarm breaks the gang up; nil while nobody waits.
	alarm clock.Timer
	// broken counts how often the gang was broken up.
	broken int
}

func newGangs() *gangs { return &gangs{loans: map[types.UID]*gang{}} }

func (g *gangs) place(loan, pod types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.loans[loan] == nil {
		g.loans[loan] = &gang{placed: map[types.UID]bool{}}
	}
	g.loans[loan].placed[pod] = true
}

// release takes the pod's place back, and says whether it had one.
func (g *gangs) release(loan, pod types.UID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	of := g.loans[loan]
	if of == nil || !of.placed[pod] {
		return false
	}
	delete(of.placed, pod)
	return true
}

// members returns the loan's placed pods, sorted.
func (g *gangs) members(loan types.UID) []types.UID {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.loans[loan] == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(g.loans[loan].placed))
}

// arm sets the gang's alarm off after a while, unless it is set already.
func (g *gangs) arm(loan types.UID, clk clock.WithDelayedExecution, after time.Duration, ring func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if of := g.loans[loan]; of != nil && of.alarm == nil {
		of.alarm = clk.AfterFunc(after, ring)
	}
}

// disarm stops the gang's alarm: all may go.
func (g *gangs) disarm(loan types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.loans[loan].disarm()
}

func (of *gang) disarm() {
	if of != nil && of.alarm != nil {
		of.alarm.Stop()
		of.alarm = nil
	}
}

// rang notes that the gang's alarm went off.
func (g *gangs) rang(loan types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if of := g.loans[loan]; of != nil {
		of.alarm = nil
	}
}

// breakUp stops the alarm and returns how often the gang was broken up by now.
func (g *gangs) breakUp(loan types.UID) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	of := g.loans[loan]
	if of == nil {
		return 0
	}
	of.disarm()
	of.broken++
	return of.broken
}

// forgetPod drops a pod that no longer exists.
func (g *gangs) forgetPod(pod types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, of := range g.loans {
		delete(of.placed, pod)
	}
}

// forgetLoan drops a loan that no longer exists.
func (g *gangs) forgetLoan(loan types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.loans[loan].disarm()
	delete(g.loans, loan)
}

// Reserve notes that the pod has a place.
func (p *Ebbtide) Reserve(_ context.Context, state fwk.CycleState, pod *corev1.Pod, _ string) *fwk.Status {
	if c, ok := readCycle(state); ok && c.loan != nil {
		p.gangs.place(c.loan.UID, pod.UID)
	}
	return nil
}

// Unreserve takes the pod's place back, and with it those of its gang that still
// wait: a gang that lost one member must not bind the rest.
func (p *Ebbtide) Unreserve(_ context.Context, state fwk.CycleState, pod *corev1.Pod, _ string) {
	c, ok := readCycle(state)
	if !ok || c.loan == nil || !p.gangs.release(c.loan.UID, pod.UID) {
		return // not of a gang, or a sibling already broke it up
	}
	p.breakUp(c.loan, "another pod of the gang lost its place")
}

// breakUp turns the loan's waiting pods away from Permit.
//
// The message counts, so that it is never the same twice: a pod that is turned
// away while the scheduler's queue looks the other way can drop out of the queue
// (kubernetes/kubernetes#139186), and comes back only when its status changes.
func (p *Ebbtide) breakUp(loan *v1alpha1.Loan, reason string) {
	message := fmt.Sprintf("%s (attempt %d)", reason, p.gangs.breakUp(loan.UID))
	for _, uid := range p.gangs.members(loan.UID) {
		// Released first, so that its own Unreserve finds the gang broken up.
		if waiting := p.handle.GetWaitingPod(uid); waiting != nil {
			p.gangs.release(loan.UID, uid)
			waiting.Reject(Name, message)
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
	if reason := p.whyNoLoan(loan); reason != "" {
		return fwk.NewStatus(fwk.Unschedulable, reason), 0
	}
	if have, want := p.present(loan, pod.UID)+1, int64(loan.Spec.Pods); have < want {
		logger := klog.FromContext(ctx)
		p.gangs.arm(loan.UID, p.clock, p.args.GangTimeout, func() { p.timeOut(logger, loan) })
		// Siblings that failed earlier are worth another try now.
		p.activate(logger, p.unplacedOf(loan))
		return fwk.NewStatus(fwk.Wait, fmt.Sprintf("%d of the %d pods of the gang have a place", have, want)), p.args.GangTimeout + timeoutSlack
	}
	p.gangs.disarm(loan.UID)
	for _, uid := range p.gangs.members(loan.UID) {
		if waiting := p.handle.GetWaitingPod(uid); waiting != nil {
			waiting.Allow(Name)
		}
	}
	return nil, 0
}

// timeoutSlack is how much longer than the gang the framework would let one pod
// wait. The gang's own alarm is what ends the wait, for all pods at once.
const timeoutSlack = time.Minute

func (p *Ebbtide) timeOut(logger klog.Logger, loan *v1alpha1.Loan) {
	p.gangs.rang(loan.UID)
	gangTimeoutsTotal.Inc()
	logger.Info("Gang timed out", "loan", klog.KObj(loan), "timeout", p.args.GangTimeout)
	p.breakUp(loan, fmt.Sprintf("not all %d pods of the gang could be placed within %s", loan.Spec.Pods, p.args.GangTimeout))
}

// unplacedOf returns those of the loan's pods that have neither a node nor a
// place.
func (p *Ebbtide) unplacedOf(loan *v1alpha1.Loan) []*corev1.Pod {
	placed := p.gangs.members(loan.UID)
	return slices.DeleteFunc(p.pendingOf(loan), func(pod *corev1.Pod) bool {
		_, has := slices.BinarySearch(placed, pod.UID)
		return has
	})
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
