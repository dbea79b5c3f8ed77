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

// PostFilter takes loans back for an online pod that is within quota and fits
// nowhere for lack of units:
//
//  1. Where units are coming free that suffice, it evicts nothing, and the pod
//     waits for that node.
//  2. A broker that runs does this earlier, with all lenders in view. So nothing
//     is taken until the pod has waited for takeBackAfter.
//  3. Then it chooses the whole loans that cost the least, in one choice for all
//     pods of this shape that wait. The others find room coming free at their
//     own turn.
//
// Nothing is evicted for a pod that would not fit with all loans gone.
func (p *Ebbtide) PostFilter(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, statuses fwk.NodeToStatusReader) (*fwk.PostFilterResult, *fwk.Status) {
	c, ok := readCycle(state)
	switch {
	case !ok && len(book.Requests(pod, p.book.Resources())) == 0:
		return nil, fwk.NewStatus(fwk.Unschedulable) // none of the plugin's business
	case !ok || c.tenant == nil:
		return denied("")
	}
	if pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy == corev1.PreemptNever {
		return denied("no loan is taken back for a pod with preemptionPolicy Never")
	}
	now := p.clock.Now()
	since := p.waiting.see(pod, c.requests, now)
	scenes, err := p.scenes(ctx, state, pod, statuses, now)
	if err != nil {
		return nil, fwk.AsStatus(fmt.Errorf("look for units to take back for pod %s: %w", klog.KObj(pod), err))
	}
	if s := roomy(scenes, pod.Status.NominatedNodeName); s != nil {
		return p.await(ctx, pod, s)
	}
	if left := p.args.TakeBackAfter - now.Sub(since); left > 0 {
		p.wakeIn(ctx, pod, left)
		return denied(fmt.Sprintf("loans are taken back for the pod when it has waited for %s", p.args.TakeBackAfter))
	}
	victims, s := p.choose(ctx, pod, c, scenes, now)
	if s == nil {
		return denied("the pod would not fit if all loans were taken back")
	}
	for _, loan := range victims {
		p.reclaim(ctx, loan)
	}
	return p.await(ctx, pod, s)
}

// denied leaves the pod waiting, and withdraws the node it may have been promised
// before: a promise holds units and quota against other pods. The status ends the
// matter: a preemption that comes after the plugin's would break gangs.
func denied(reason string) (*fwk.PostFilterResult, *fwk.Status) {
	withdraw := &fwk.PostFilterResult{NominatingInfo: &fwk.NominatingInfo{NominatingMode: fwk.ModeOverride}}
	if reason == "" {
		return withdraw, fwk.NewStatus(fwk.UnschedulableAndUnresolvable)
	}
	return withdraw, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reason)
}

// await promises the scene's node to the pod. It also sees to it that what was
// asked back really leaves: a broker may have died between asking and stopping.
func (p *Ebbtide) await(ctx context.Context, pod *corev1.Pod, s *scene) (*fwk.PostFilterResult, *fwk.Status) {
	for _, loan := range s.stalled {
		p.reclaim(ctx, loan)
	}
	for _, stray := range s.strays {
		p.taken.addStray(stray)
	}
	p.waiting.promise(pod.UID)
	p.wakeIn(ctx, pod, recheck)
	return &fwk.PostFilterResult{NominatingInfo: &fwk.NominatingInfo{
		NominatedNodeName: s.name(),
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
		for _, u := range c.room[r.Resource] {
			units += u
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
	others := p.waiting.alike(pod, c.requests, now.Add(-p.args.TakeBackAfter/2), p.stillWaits)
	return min(1+others, roomLeft(c))
}

// stillWaits reports whether the pod exists and has yet to get a node.
func (p *Ebbtide) stillWaits(pod *corev1.Pod) bool {
	obj, exists, err := p.pods.GetByKey(pod.Namespace + "/" + pod.Name)
	if err != nil || !exists {
		return false
	}
	current, ok := obj.(*corev1.Pod)
	return ok && current.UID == pod.UID && current.Spec.NodeName == "" && current.DeletionTimestamp == nil
}
