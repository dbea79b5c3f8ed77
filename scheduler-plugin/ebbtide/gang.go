package ebbtide

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// gangs remembers which pods of which loan have a place that the API server does
// not show yet. After a restart it is empty: the pods that were bound are then
// known from the API, and those that were not start over. Its lock is held while
// pods are let go or turned away, so that of one gang it is always all of them.
type gangs struct {
	mu    sync.Mutex
	loans map[types.UID]*gang
	pods  map[types.UID]types.UID // the loans of placed pods
}

type gang struct {
	placed map[types.UID]bool
	// alarm breaks the gang up; nil while nobody waits. round tells an alarm that
	// was too late to be stopped from the present one.
	alarm clock.Timer
	round int
	// broken counts how often the gang was broken up.
	broken int
	// late are pods that were to be turned away and did not wait yet, by why.
	late map[types.UID]string
	// free are pods that were to be let go and did not wait yet.
	free map[types.UID]bool
}

func newGangs() *gangs {
	return &gangs{loans: map[types.UID]*gang{}, pods: map[types.UID]types.UID{}}
}

// of returns the loan's gang; the caller holds the lock.
func (g *gangs) of(loan types.UID) *gang {
	if g.loans[loan] == nil {
		g.loans[loan] = &gang{placed: map[types.UID]bool{}, late: map[types.UID]string{}, free: map[types.UID]bool{}}
	}
	return g.loans[loan]
}

func (g *gangs) place(loan, pod types.UID) {
	g.of(loan).placed[pod], g.pods[pod] = true, loan
}

// release takes the pod's place back, and says whether it had one.
func (g *gangs) release(pod types.UID) (had bool) {
	loan, had := g.pods[pod]
	delete(g.pods, pod)
	if of := g.loans[loan]; had && of != nil {
		delete(of.placed, pod)
		delete(of.late, pod)
		delete(of.free, pod)
	}
	return had
}

// tidy drops the gangs that are nobody's any more. It does not drop one as soon as it
// is empty: how often it was broken up is still to be told (see turnAll).
func (g *gangs) tidy(lives func(gang types.UID) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, of := range g.loans {
		if len(of.placed) == 0 && len(of.late) == 0 && !lives(key) {
			of.disarm()
			delete(g.loans, key)
		}
	}
}

func (of *gang) disarm() {
	if of.alarm != nil {
		of.alarm.Stop()
		of.alarm = nil
	}
	of.round++
}

// forgetPod drops a pod that is bound, as the API shows, or gone.
func (g *gangs) forgetPod(pod types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.release(pod)
}

// forgetLoan drops a loan that no longer exists.
func (g *gangs) forgetLoan(loan types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if of := g.loans[loan]; of != nil {
		of.disarm()
		for pod := range of.placed {
			delete(g.pods, pod)
		}
		delete(g.loans, loan)
	}
}

// Reserve notes that the pod has a place, and which slices.
func (p *Ebbtide) Reserve(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, node string) *fwk.Status {
	c, ok := readCycle(state)
	if !ok {
		return nil
	}
	if status := p.reserveSlices(c, pod, node); !status.IsSuccess() {
		return status
	}
	p.wake(klog.FromContext(ctx), p.account.Assume(pod, node))
	if promised := pod.Status.NominatedNodeName; promised != "" && promised != node {
		for _, r := range c.requests { // nothing is kept for it there any more
			p.stirs.note(promised, r.Resource)
		}
	}
	// gofail: var podReserved struct{}
	if gang := c.gang(); gang != "" {
		p.gangs.mu.Lock()
		defer p.gangs.mu.Unlock()
		p.gangs.place(gang, pod.UID)
	}
	return nil
}

// Unreserve takes the pod's place back, and with it those of its gang that still
// wait: a gang that lost one member must not bind the rest.
func (p *Ebbtide) Unreserve(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, _ string) {
	c, ok := readCycle(state)
	if !ok {
		return
	}
	p.cards.release(pod.UID)
	p.wake(klog.FromContext(ctx), p.account.Forget(pod.UID))
	if gang := c.gang(); gang != "" {
		p.loses(gang, pod.UID, state.IsPodGroupSchedulingCycle())
	}
	if c.loan != nil {
		p.unbegun(klog.FromContext(ctx), c.loan)
	}
}

// loses notes that a pod of the gang has lost its place, and turns the others away.
func (p *Ebbtide) loses(gang, pod types.UID, tried bool) {
	p.gangs.mu.Lock()
	defer p.gangs.mu.Unlock()
	// Else a sibling already broke it up, or the place was only tried out.
	had := p.gangs.release(pod)
	if of := p.gangs.loans[gang]; had && of != nil && !tried {
		p.turnAll(of, "another pod of the gang lost its place")
	}
}

// PostBind forgets what mattered until the pod was bound.
func (p *Ebbtide) PostBind(_ context.Context, state fwk.CycleState, pod *corev1.Pod, _ string) {
	// gofail: var podBound struct{}
	p.waiting.forget(pod.UID)
	if c, ok := readCycle(state); ok && c.gang() != "" {
		p.gangs.mu.Lock()
		defer p.gangs.mu.Unlock()
		if of := p.gangs.loans[c.gang()]; of != nil {
			delete(of.late, pod.UID)
		}
	}
}

// breakUp turns the loan's waiting pods away from Permit.
func (p *Ebbtide) breakUp(loan *v1alpha1.Loan, reason string) {
	p.gangs.mu.Lock()
	defer p.gangs.mu.Unlock()
	if of := p.gangs.loans[loan.UID]; of != nil {
		p.turnAll(of, reason)
	}
}

// turnAll turns the gang's waiting pods away; the caller holds the lock. One that is
// between its turn in Permit and waiting is turned away by the next sweep.
//
// The message counts, so that it is never the same twice: a pod that is turned
// away while the scheduler's queue looks the other way can drop out of the queue
// (kubernetes/kubernetes#139186), and comes back only when its status changes.
func (p *Ebbtide) turnAll(of *gang, reason string) {
	of.disarm()
	of.broken++
	clear(of.free)
	message := fmt.Sprintf("%s (attempt %d)", reason, of.broken)
	for _, uid := range slices.Sorted(maps.Keys(of.placed)) {
		of.late[uid] = message
	}
	p.turnLate(of)
}

func (p *Ebbtide) turnLate(of *gang) {
	for uid, message := range of.late {
		if waiting := p.handle.GetWaitingPod(uid); waiting != nil {
			p.gangs.release(uid) // first, so that its own Unreserve finds the gang broken up
			waiting.Reject(Name, message)
		}
	}
}

// letGo lets the gang's waiting pods go, as far as they were told to; the caller holds the
// lock. One that is between its turn in Permit and waiting is let go by the next sweep.
func (p *Ebbtide) letGo(of *gang) {
	for uid := range of.free {
		if waiting := p.handle.GetWaitingPod(uid); waiting != nil {
			delete(of.free, uid)
			waiting.Allow(Name)
		}
	}
}

// sweepGangs turns those away, or lets them go, that were too early for it when their gang
// broke up or was complete, and drops the gangs whose loan or group is gone.
func (p *Ebbtide) sweepGangs() {
	loans := map[types.UID]bool{}
	for _, loan := range p.book.Loans() {
		loans[loan.UID] = true
	}
	p.gangs.tidy(func(gang types.UID) bool { return loans[gang] || p.groupLives(gang) })
	p.gangs.mu.Lock()
	defer p.gangs.mu.Unlock()
	for _, of := range p.gangs.loans {
		p.turnLate(of)
		p.letGo(of)
	}
}

// Permit lets the gang's pods wait until all of them have a place, and then
// lets all of them go.
func (p *Ebbtide) Permit(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, _ string) (*fwk.Status, time.Duration) {
	c, ok := readCycle(state)
	switch {
	case !ok || state.IsPodGroupSchedulingCycle(): // only tried out
		return nil, 0
	case c.group != nil:
		return p.permitGroup(klog.FromContext(ctx), c.group, pod)
	case c.loan == nil:
		return nil, 0
	}
	loan := p.book.LoanOf(pod)
	if reason := p.whyNoLoan(loan); reason != "" {
		return fwk.NewStatus(fwk.Unschedulable, reason), 0
	}
	// gofail: var podPermitted struct{}
	logger := klog.FromContext(ctx)
	have, want := p.muster(logger, loan, pod.UID)
	if have >= want {
		return nil, 0
	}
	// Siblings that failed earlier are worth another try now.
	p.activate(logger, p.unplacedOf(loan))
	return fwk.NewStatus(fwk.Wait, fmt.Sprintf("%d of the %d pods of the gang have a place", have, want)), p.args.GangTimeout + timeoutSlack
}

// timeoutSlack is how much longer than the gang the framework would let one pod
// wait. The gang's own alarm is what ends the wait, for all pods at once.
const timeoutSlack = time.Minute

// muster lets the gang's waiting pods go if it is complete, the given pod (which
// does not wait yet) included; else it sees to it that the wait ends.
func (p *Ebbtide) muster(logger klog.Logger, loan *v1alpha1.Loan, pod types.UID) (have, want int64) {
	p.gangs.mu.Lock()
	defer p.gangs.mu.Unlock()
	of := p.gangs.of(loan.UID)
	if pod != "" {
		p.gangs.place(loan.UID, pod)
	}
	have, want = countPresent(p.membersOfGang(loan), of.placed), p.wantedOf(loan)
	p.settle(of, have >= want, func(round int) { p.timeOut(logger, loan, round) })
	return have, want
}

// settle lets the gang's waiting pods go if it is complete; else it sees to it that
// an alarm rings for those that wait. The caller holds the lock.
func (p *Ebbtide) settle(of *gang, complete bool, ring func(round int)) {
	switch {
	case complete:
		of.disarm()
		clear(of.late)
		maps.Copy(of.free, of.placed)
		p.letGo(of)
		return
	case of.alarm == nil && len(of.placed) > 0:
		round := of.round
		of.alarm = p.clock.AfterFunc(p.args.GangTimeout, func() { ring(round) })
	}
	clear(of.free)
}

func (p *Ebbtide) timeOut(logger klog.Logger, loan *v1alpha1.Loan, round int) {
	p.gangs.mu.Lock()
	defer p.gangs.mu.Unlock()
	of := p.gangs.loans[loan.UID]
	if of == nil || of.round != round {
		return // the gang was complete, or broken up, just before
	}
	of.alarm = nil
	gangTimeoutsTotal.Inc()
	logger.Info("Gang timed out", "loan", klog.KObj(loan), "timeout", p.args.GangTimeout)
	p.turnAll(of, fmt.Sprintf("not all %d pods of the gang could be placed within %s", p.wantedOf(loan), p.args.GangTimeout))
}

// placedIn returns those of the gang's pods that have a place and may have no node
// yet.
func (p *Ebbtide) placedIn(gang types.UID) map[types.UID]bool {
	p.gangs.mu.Lock()
	defer p.gangs.mu.Unlock()
	if of := p.gangs.loans[gang]; of != nil {
		return maps.Clone(of.placed)
	}
	return nil
}

// unplacedOf returns those of the loan's pods that have neither a node nor a
// place.
func (p *Ebbtide) unplacedOf(loan *v1alpha1.Loan) []*corev1.Pod {
	placed := p.placedIn(loan.UID)
	return slices.DeleteFunc(p.pendingOf(loan), func(pod *corev1.Pod) bool { return placed[pod.UID] })
}

// wanted returns how many pods the gang is: those that its loan keeps, less those that
// the job has no use for any more because enough of it has succeeded.
func wanted(loan *v1alpha1.Loan, job *batchv1.Job) int64 {
	pods := int64(loan.KeptPods())
	if job == nil {
		return pods
	}
	succeeded := int64(job.Status.Succeeded)
	if uncounted := job.Status.UncountedTerminatedPods; uncounted != nil {
		succeeded += int64(len(uncounted.Succeeded))
	}
	if job.Spec.Completions == nil { // the first success ends it: no new pods are made
		return pods - succeeded
	}
	return min(pods, int64(*job.Spec.Completions)-succeeded)
}

// countPresent counts each pod once that is bound and alive, or placed.
func countPresent(pods []*corev1.Pod, placed map[types.UID]bool) int64 {
	seen := maps.Clone(placed)
	for _, pod := range pods {
		switch alive := pod.DeletionTimestamp == nil && !ended(pod); {
		case alive && pod.Spec.NodeName != "":
			seen[pod.UID] = true
		case !alive:
			delete(seen, pod.UID)
		}
	}
	return int64(len(seen))
}
