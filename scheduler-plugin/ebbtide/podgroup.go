package ebbtide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1alpha2 "k8s.io/api/scheduling/v1alpha2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/account"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// Bare pods can be a gang too, where the API server serves the PodGroups of
// scheduling.k8s.io/v1alpha2: pods that name one with a gang policy are bound when
// minCount of them have a place, and none before. Only pods that ask for units wait;
// one of the group that asks for none counts as soon as it is bound. Pods of queued
// jobs are gangs by their loan, whatever group they name. A gang that the quota
// cannot hold holds none of it, and no pod of its tenant makes way for it.
//
// The scheduler need not run with the upstream feature. If it does, it tries the
// whole group out before it places any of it, and its own plugin waits for the same
// pods as this one.

// byGroup is the plugin's index of pods by PodGroup.
const byGroup = "ebbtide.dev/pod-group"

// podGroupsServed asks the API server whether it knows PodGroups.
func podGroupsServed(api discovery.ServerResourcesInterface) (bool, error) {
	version := schedulingv1alpha2.SchemeGroupVersion.String()
	list, err := api.ServerResourcesForGroupVersion(version)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("ask whether %s is served: %w", version, err)
	}
	return slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == "podgroups" }), nil
}

// groupName returns the name of the PodGroup that the pod names, with its namespace;
// empty if it names none.
func groupName(pod *corev1.Pod) string {
	group := pod.Spec.SchedulingGroup
	if group == nil || group.PodGroupName == nil || *group.PodGroupName == "" {
		return ""
	}
	return pod.Namespace + "/" + *group.PodGroupName
}

// podGroup is a PodGroup with a gang policy.
type podGroup struct {
	// name with namespace.
	name string
	// minCount of its pods are bound together.
	minCount int64
}

// gang is the group's key among the gangs. It is not the PodGroup's UID: a group
// that is made anew is the same gang for the pods that wait.
func (g *podGroup) gang() types.UID { return groupGang(g.name) }

const ofGroup = "podgroup/"

func groupGang(name string) types.UID { return types.UID(ofGroup + name) }

// groupLives reports whether the gang is that of a PodGroup that exists.
func (p *Ebbtide) groupLives(gang types.UID) bool {
	name, isGroup := strings.CutPrefix(string(gang), ofGroup)
	if !isGroup || p.groups == nil {
		return false
	}
	namespace, name, _ := strings.Cut(name, "/")
	_, err := p.groups.PodGroups(namespace).Get(name)
	return err == nil
}

// groupOf returns the group that the bare pod must be bound with; nil if there is
// none. reason says why it may not run yet.
func (p *Ebbtide) groupOf(pod *corev1.Pod) (group *podGroup, reason string) {
	name := groupName(pod)
	if p.groups == nil || name == "" {
		return nil, ""
	}
	object, err := p.groups.PodGroups(pod.Namespace).Get(*pod.Spec.SchedulingGroup.PodGroupName)
	if err != nil {
		return nil, fmt.Sprintf("PodGroup %s, which the pod names, does not exist", name)
	}
	policy := object.Spec.SchedulingPolicy.Gang
	if policy == nil {
		return nil, ""
	}
	return &podGroup{name: name, minCount: int64(policy.MinCount)}, ""
}

// readyGroup is groupOf, with a reason also where too few of the group's pods exist.
// It is asked in PreFilter, and not before the pod is queued, so that the reason
// stands on the pod.
func (p *Ebbtide) readyGroup(pod *corev1.Pod) (group *podGroup, reason string) {
	group, reason = p.groupOf(pod)
	if group == nil {
		return nil, reason
	}
	if n := countExisting(p.membersOf(group)); n < group.minCount {
		return nil, fmt.Sprintf("%d of the %d pods that PodGroup %s needs exist", n, group.minCount, group.name)
	}
	return group, ""
}

// whyNoQuotaForGroup says why the tenant's quota cannot hold those of the group's
// pods that have yet to be placed together; empty if it may. It would be a waste to
// place some of them.
func (p *Ebbtide) whyNoQuotaForGroup(c *cycle, pod *corev1.Pod) string {
	if c.group == nil {
		return ""
	}
	members, placed := p.membersOf(c.group), p.placedOf(c.group)
	missing := c.group.minCount - countMembers(members, placed)
	if missing <= 1 {
		return "" // no more than the pod itself
	}
	for _, r := range c.requests {
		need := r.Units + leastOf(members, placed, pod.UID, r.Resource, missing-1)
		if reason := whyNoQuotaForAll(c.tenant, r.Resource, c.used, need); reason != "" {
			return fmt.Sprintf("%s, and the pods of PodGroup %s that start together ask for %d", reason, c.group.name, need)
		}
	}
	return ""
}

// whyNoQuotaForAll says why all flavors together have no room for the units; empty
// if they may have it.
func whyNoQuotaForAll(tenant *account.Tenant, resource corev1.ResourceName, used account.Use, units int64) string {
	reason := ""
	for _, f := range tenant.Flavors(resource) {
		if units -= max(0, tenant.Left(f, used)); units <= 0 {
			return ""
		}
		reason = fmt.Sprintf("tenant %s: %s", tenant.Name, tenant.Describe(f, used))
	}
	return reason
}

func (p *Ebbtide) membersOf(group *podGroup) []*corev1.Pod { return p.podsBy(byGroup, group.name) }

func (p *Ebbtide) placedOf(group *podGroup) map[types.UID]bool {
	return p.placedIn(group.gang())
}

// runs reports whether the pod has its place for good. One that succeeded does while it
// is watched: it ran with the others, and nobody replaces it. But kube-scheduler soon stops
// watching it, and then a pod that is made anew finds one less of its group than there was.
func runs(pod *corev1.Pod) bool { return pod.Spec.NodeName != "" && exists(pod) }

func exists(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodFailed
}

func countExisting(pods []*corev1.Pod) int64 {
	var n int64
	for _, pod := range pods {
		if exists(pod) {
			n++
		}
	}
	return n
}

// countMembers counts the group's pods that run or have a place.
func countMembers(pods []*corev1.Pod, placed map[types.UID]bool) int64 {
	var n int64
	for _, pod := range pods {
		if runs(pod) || placed[pod.UID] && exists(pod) {
			n++
		}
	}
	return n
}

// leastOf returns the least units of the resource that n of the pods that wait for a
// place ask for, the given one excepted.
func leastOf(pods []*corev1.Pod, placed map[types.UID]bool, except types.UID, resource corev1.ResourceName, n int64) int64 {
	var sizes []int64
	for _, pod := range pods {
		if waits(pod) && exists(pod) && !placed[pod.UID] && pod.UID != except {
			sizes = append(sizes, book.Units(pod, resource))
		}
	}
	slices.Sort(sizes)
	var sum int64
	for _, size := range sizes[:min(max(n, 0), int64(len(sizes)))] {
		sum += size
	}
	return sum
}

// permitGroup lets the group's pods wait until minCount of them have a place, and
// then lets all of them go.
func (p *Ebbtide) permitGroup(logger klog.Logger, group *podGroup, pod *corev1.Pod) (*fwk.Status, time.Duration) {
	have := p.musterGroup(logger, group, pod.UID)
	if have >= group.minCount {
		return nil, 0
	}
	// Siblings that failed earlier are worth another try now.
	placed := p.placedOf(group)
	p.activate(logger, slices.DeleteFunc(p.membersOf(group), func(pod *corev1.Pod) bool { return !waits(pod) || placed[pod.UID] }))
	return fwk.NewStatus(fwk.Wait, fmt.Sprintf("%d of the %d pods that PodGroup %s needs have a place", have, group.minCount, group.name)),
		p.args.GangTimeout + timeoutSlack
}

// musterGroup lets the group's waiting pods go if enough of it has a place, the given pod
// (which does not wait yet; empty: none) included; else it sees to it that the wait ends.
func (p *Ebbtide) musterGroup(logger klog.Logger, group *podGroup, pod types.UID) (have int64) {
	members := p.membersOf(group)
	p.gangs.mu.Lock()
	defer p.gangs.mu.Unlock()
	of := p.gangs.of(group.gang())
	if pod != "" {
		p.gangs.place(group.gang(), pod)
	}
	have = countMembers(members, of.placed)
	p.settle(of, have >= group.minCount, func(round int) { p.timeOutGroup(logger, group, round) })
	return have
}

func (p *Ebbtide) timeOutGroup(logger klog.Logger, group *podGroup, round int) {
	p.gangs.mu.Lock()
	defer p.gangs.mu.Unlock()
	of := p.gangs.loans[group.gang()]
	if of == nil || of.round != round {
		return // the gang was complete, or broken up, just before
	}
	of.alarm = nil
	gangTimeoutsTotal.Inc()
	logger.Info("Gang timed out", "podGroup", group.name, "timeout", p.args.GangTimeout)
	p.turnAll(of, fmt.Sprintf("not all %d pods that PodGroup %s needs could be placed within %s", group.minCount, group.name, p.args.GangTimeout))
}

// onPodGroup wakes the pods that wait for their group to exist, and turns those away
// whose group is gone.
func (p *Ebbtide) onPodGroup(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if group, ok := obj.(*schedulingv1alpha2.PodGroup); ok {
				p.groupMade(logger, group)
			}
		},
		UpdateFunc: func(before, after any) {
			old, ok1 := before.(*schedulingv1alpha2.PodGroup)
			group, ok2 := after.(*schedulingv1alpha2.PodGroup)
			if ok1 && ok2 && old.UID != group.UID { // else its policy is what it was
				p.dropGroup(old.Namespace + "/" + old.Name)
				p.groupMade(logger, group)
			}
		},
		DeleteFunc: func(obj any) {
			if group, ok := deleted[*schedulingv1alpha2.PodGroup](obj); ok {
				p.dropGroup(group.Namespace + "/" + group.Name)
			}
		},
	}
}

func (p *Ebbtide) groupMade(logger klog.Logger, group *schedulingv1alpha2.PodGroup) {
	p.activate(logger, slices.DeleteFunc(p.podsBy(byGroup, group.Namespace+"/"+group.Name), func(pod *corev1.Pod) bool { return !waits(pod) }))
}

func (p *Ebbtide) dropGroup(name string) {
	p.gangs.mu.Lock()
	defer p.gangs.mu.Unlock()
	of := p.gangs.loans[groupGang(name)]
	if of == nil {
		return
	}
	p.turnAll(of, fmt.Sprintf("PodGroup %s was deleted", name))
}

// followGroup lets the group of a pod go that wait for it: one that asks for no units is
// bound without a word to Permit. before is nil if the pod is new.
func (p *Ebbtide) followGroup(logger klog.Logger, before, now *corev1.Pod) {
	if !runs(now) || before != nil && runs(before) {
		return
	}
	if group, _ := p.groupOf(now); group != nil && len(p.placedOf(group)) > 0 {
		p.musterGroup(logger, group, "")
	}
}

// wakeGroup wakes the pods of a new pod's group if the group is complete with it.
func (p *Ebbtide) wakeGroup(logger klog.Logger, added *corev1.Pod) {
	if !exists(added) {
		return
	}
	group, _ := p.groupOf(added)
	if group == nil {
		return
	}
	if members := p.membersOf(group); countExisting(members) >= group.minCount {
		p.activate(logger, slices.DeleteFunc(members, func(pod *corev1.Pod) bool { return !waits(pod) || pod.UID == added.UID }))
	}
}
