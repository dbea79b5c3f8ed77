package ebbtide

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// recheck is how often a pod that waits for units to come free looks again, in
// case they do not.
const recheck = 5 * time.Second

// PostFilter makes room for a bare pod that fits nowhere.
//
// Where its tenant's nominal quota has room, nodes lack it because somebody borrows:
//
//  1. Where units are coming free that suffice, it evicts nothing, and the pod
//     waits for that node.
//  2. A broker that runs does this earlier, with all lenders in view. So nothing
//     is taken until the pod has waited for takeBackAfter.
//  3. Then it chooses the whole loans that cost the least, in one choice for all
//     pods of this shape that wait. The others find room coming free at their
//     own turn. What units were reshaped into is undone when its loan goes, and where
//     nobody has it that costs nothing.
//
// Where the quota itself is full, pods and jobs of the same tenant with a lower
// priority make way (see makeWay).
//
// Nothing is evicted for a pod that would not fit with all of them gone. Of a gang,
// that is all the pods that it still needs, and nobody makes way for some of them.
func (p *Ebbtide) PostFilter(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, statuses fwk.NodeToStatusReader) (*fwk.PostFilterResult, *fwk.Status) {
	c, ok := readCycle(state)
	switch {
	case !ok && len(book.Requests(pod, p.account.Resources())) == 0:
		return nil, fwk.NewStatus(fwk.Unschedulable) // none of the plugin's business
	case !ok || c.tenant == nil:
		return p.denied(ctx, pod, "")
	}
	p.awaitFlavors(ctx, pod, c)
	if pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy == corev1.PreemptNever {
		p.next(ctx, pod, c)
		return p.denied(ctx, pod, "nothing is taken back for a pod with preemptionPolicy Never")
	}
	if lacking := p.lacking(c); lacking > 1 {
		result, status := p.takeBackForGroup(ctx, state, pod, c, lacking)
		if !status.IsSuccess() {
			p.next(ctx, pod, c)
		}
		return result, status
	}
	if c.full {
		return p.makeWay(ctx, state, pod, c)
	}
	nodes, err := p.resolvable(c, statuses)
	if err == nil {
		nodes, err = p.withReshaped(c, nodes)
	}
	if err != nil {
		return nil, fwk.AsStatus(fmt.Errorf("list the nodes that refused pod %s: %w", klog.KObj(pod), err))
	}
	result, status := p.takeBackFor(ctx, state, pod, c, nodes)
	switch {
	case status.IsSuccess():
		return result, status
	case p.patience(pod) <= 0: // there may be room in a flavor whose quota is full
		result, status = p.makeWay(ctx, state, pod, c)
	}
	if !status.IsSuccess() {
		p.next(ctx, pod, c)
	}
	return result, p.tellFull(c, status)
}

// patience returns for how much longer the pod is to wait for the broker.
func (p *Ebbtide) patience(pod *corev1.Pod) time.Duration {
	now := p.clock.Now()
	return p.args.TakeBackAfter - now.Sub(p.waiting.since(pod.UID, now))
}

// next lets other pods try that wait for quota which this one does not use.
func (p *Ebbtide) next(ctx context.Context, pod *corev1.Pod, c *cycle) {
	if !c.full {
		p.passOn(klog.FromContext(ctx), pod, c.tenant.Name)
	}
}

// takeBackFor takes loans back on the nodes, if that makes room for the pod.
func (p *Ebbtide) takeBackFor(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, c *cycle, nodes []fwk.NodeInfo) (*fwk.PostFilterResult, *fwk.Status) {
	now := p.clock.Now()
	p.waiting.see(pod, c.requests, now)
	scenes, err := p.scenes(ctx, state, pod, nodes, now)
	if err != nil {
		return nil, fwk.AsStatus(fmt.Errorf("look for units to take back for pod %s: %w", klog.KObj(pod), err))
	}
	if s := roomy(scenes, pod.Status.NominatedNodeName); s != nil {
		return p.awaitScene(ctx, pod, s)
	}
	if left := p.patience(pod); left > 0 {
		p.wakeIn(ctx, pod, left)
		return p.denied(ctx, pod, fmt.Sprintf("loans are taken back for the pod when it has waited for %s", p.args.TakeBackAfter))
	}
	victims, s := p.choose(ctx, pod, c, scenes, now)
	if s == nil {
		return p.denied(ctx, pod, "the pod would not fit if all loans were taken back")
	}
	p.takeBackAll(ctx, victims, scenes)
	return p.awaitScene(ctx, pod, s)
}

// denied leaves the pod waiting, and withdraws the node it may have been promised
// before: a promise holds units and quota against other pods. The status ends the
// matter: a preemption that comes after the plugin's would break gangs.
func (p *Ebbtide) denied(ctx context.Context, pod *corev1.Pod, reason string) (*fwk.PostFilterResult, *fwk.Status) {
	p.wake(klog.FromContext(ctx), p.account.Nominate(pod.UID, ""))
	withdraw := &fwk.PostFilterResult{NominatingInfo: &fwk.NominatingInfo{NominatingMode: fwk.ModeOverride}}
	if reason == "" {
		return withdraw, fwk.NewStatus(fwk.UnschedulableAndUnresolvable)
	}
	return withdraw, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reason)
}

// awaitScene promises the scene's node to the pod. It also sees to it that what was
// asked back really leaves: a broker may have died between asking and stopping.
func (p *Ebbtide) awaitScene(ctx context.Context, pod *corev1.Pod, s *scene) (*fwk.PostFilterResult, *fwk.Status) {
	for _, loan := range s.stalled {
		p.reclaim(ctx, loan, lentMessage)
	}
	for _, stray := range s.strays {
		p.taken.addPod(stray, withoutLoanText)
	}
	return p.promise(ctx, pod, s.name())
}

// promise nominates the pod to the node: what comes free is kept for it.
func (p *Ebbtide) promise(ctx context.Context, pod *corev1.Pod, node string) (*fwk.PostFilterResult, *fwk.Status) {
	p.wake(klog.FromContext(ctx), p.account.Nominate(pod.UID, node))
	p.waiting.promise(pod.UID)
	p.wakeIn(ctx, pod, recheck)
	return &fwk.PostFilterResult{NominatingInfo: &fwk.NominatingInfo{
		NominatedNodeName: node,
		NominatingMode:    fwk.ModeOverride,
	}}, nil
}

// wakeIn puts the pod back into the queue after a while.
func (p *Ebbtide) wakeIn(ctx context.Context, pod *corev1.Pod, after time.Duration) {
	logger := klog.FromContext(ctx)
	p.waiting.arm(pod.UID, p.clock.AfterFunc(after, func() {
		p.handle.Activate(logger, map[string]*corev1.Pod{pod.Namespace + "/" + pod.Name: pod})
	}))
}

// roomy returns the scene whose coming free suffices for the pod: the one it was
// promised, else the first by name; nil if there is none.
func roomy(scenes []*scene, promised string) *scene {
	var first *scene
	for _, s := range scenes {
		switch {
		case !s.fits:
		case s.name() == promised:
			return s
		case first == nil:
			first = s
		}
	}
	return first
}

// roomLeft returns how many pods like this one the tenant's quota has room for.
func roomLeft(c *cycle) int64 {
	left := int64(-1)
	for _, r := range c.requests {
		var units int64
		for _, f := range c.tenant.Flavors(r.Resource) {
			units += c.tenant.Left(f, c.used)
		}
		if pods := units / r.Units; left < 0 || pods < left {
			left = pods
		}
	}
	return max(left, 1)
}

// owed returns how many pods are to be made room for at once: this one, and
// those alike that have waited for at least half of the patience. Pods that
// arrive together are thus served by one choice.
func (p *Ebbtide) owed(pod *corev1.Pod, c *cycle, now time.Time) int64 {
	if c.group != nil {
		return 1 // the last one that its gang needs, or beyond that
	}
	others := p.waiting.alike(pod, c.requests, now.Add(-p.args.TakeBackAfter/2), p.stillWaits)
	return min(1+others, roomLeft(c))
}

// stillWaits reports whether the pod exists and has yet to get a node.
func (p *Ebbtide) stillWaits(pod *corev1.Pod) bool {
	current, exists := p.current(pod)
	return exists && waits(current)
}
