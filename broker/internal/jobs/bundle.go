package jobs

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// bundle is the pods of one gated job. The first stands for them; none is there if the
// one that should is not.
type bundle struct {
	id   bundleID
	pods []*corev1.Pod
}

// bundleID tells which pods belong together: those of one group of a LeaderWorkerSet
// have the UID of its leader, those of a pod group its name; a pod by itself has its
// own UID.
type bundleID struct {
	namespace string
	kind      bundleKind
	name      string
}

type bundleKind int

const (
	single bundleKind = iota
	grouped
	led
)

// siblings is the label that all pods have which belong together with a pod.
func siblings(pod *corev1.Pod) (label string, is bool) {
	for _, label := range []string{labelLWSName, v1alpha1.LabelPodGroup} {
		if _, has := pod.Labels[label]; has {
			return label, true
		}
	}
	return "", false
}

// bundles sorts pods into jobs, in the order of their names. Those that are a part of a
// job of another kind are left out, and those of which that is not known yet.
func (g *Gated) bundles(pods []*corev1.Pod) []*bundle {
	byID := map[bundleID]*bundle{}
	var all []*bundle
	for _, pod := range pods {
		id, is := g.identify(pod)
		if !is {
			continue
		}
		if id.kind == single { // there may be thousands
			all = append(all, &bundle{id, []*corev1.Pod{pod}})
			continue
		}
		b := byID[id]
		if b == nil {
			b = &bundle{id: id}
			byID[id] = b
			all = append(all, b)
		}
		b.pods = append(b.pods, pod)
	}
	for _, b := range all {
		b.sort()
	}
	slices.SortFunc(all, func(a, b *bundle) int {
		return cmp.Or(cmp.Compare(a.id.namespace, b.id.namespace), cmp.Compare(a.id.kind, b.id.kind), cmp.Compare(a.id.name, b.id.name))
	})
	return all
}

// identify tells which job a pod is of.
func (g *Gated) identify(pod *corev1.Pod) (id bundleID, is bool) {
	chain, complete := g.Chains.Chain(pod)
	if !complete {
		return id, false
	}
	for i, owner := range chain {
		if owner.Kind == kindLWS.GroupKind() {
			return bundleID{pod.Namespace, led, string(leaderOf(pod, chain[:i]))}, true
		}
		if makesJobs[owner.Kind] {
			return id, false
		}
	}
	if name := pod.Labels[v1alpha1.LabelPodGroup]; name != "" {
		return bundleID{pod.Namespace, grouped, name}, true
	}
	return bundleID{pod.Namespace, single, string(pod.UID)}, true
}

// sort puts first the pod that stands for all: the leader, or the oldest of those that are
// not on their way out. One that has ended is left of an earlier group where the others
// wait; beside those that run it was admitted with them, and a Loan may name it.
func (b *bundle) sort() {
	if len(b.pods) == 1 {
		return
	}
	waits := b.waits()
	rank := func(pod *corev1.Pod) int {
		switch {
		case b.id.kind == led && string(pod.UID) == b.id.name:
			return 0
		case pod.DeletionTimestamp != nil:
			return 3
		case !over(pod) || !waits && admissions(pod) > 0:
			return 1
		}
		return 2
	}
	slices.SortFunc(b.pods, func(x, y *corev1.Pod) int {
		return cmp.Or(cmp.Compare(rank(x), rank(y)), x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(x.UID, y.UID))
	})
}

// waits: there are pods that may run yet, and none of them was admitted. One that asks for
// no units may run without that.
func (b *bundle) waits() bool {
	some := false
	for _, pod := range b.pods {
		if gone(pod) {
			continue
		}
		if admissions(pod) > 0 || pod.Spec.NodeName != "" && asksUnits(pod) {
			return false
		}
		some = true
	}
	return some
}

// lead stands for all pods; nil if a group's leader is gone: its pods are going too.
func (b *bundle) lead() *corev1.Pod {
	if b.id.kind == led && string(b.pods[0].UID) != b.id.name {
		return nil
	}
	return b.pods[0]
}

func (b *bundle) has(uid types.UID) bool {
	return slices.ContainsFunc(b.pods, func(pod *corev1.Pod) bool { return pod.UID == uid })
}

// version changes whenever one of the pods does.
func (b *bundle) version() string {
	if len(b.pods) == 1 {
		return b.pods[0].ResourceVersion
	}
	sum := fnv.New128a()
	for _, pod := range b.pods {
		fmt.Fprintf(sum, "%s %s\n", pod.UID, pod.ResourceVersion)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

func (b *bundle) attempt() int32 { return admissions(b.lead()) }
func (b *bundle) skipped() int32 { return attemptIn(b.lead().Annotations, annotationSkipped) }

// job is what the broker needs to know of the pods.
func (b *bundle) job() Job {
	lead := b.lead()
	j := Job{
		Ref:       Ref{Key: client.ObjectKeyFromObject(lead), UID: lead.UID, GroupKind: kindPod.GroupKind()},
		Kind:      kindPod,
		Queue:     lead.Labels[v1alpha1.LabelQueue],
		Created:   lead.CreationTimestamp.UTC(),
		Version:   b.version(),
		Attempt:   max(b.attempt(), b.skipped()),
		Suspended: b.attempt() == 0,
		Finished:  true,
	}
	if b.id.kind == grouped {
		j.PodGroup = b.id.name
	}
	var sets []podSet
	for _, pod := range b.pods {
		j.Finished = j.Finished && gone(pod)
		every, last := checkpoints(pod.Annotations)
		j.CheckpointEvery = cmp.Or(j.CheckpointEvery, every)
		if last.After(j.LastCheckpoint) {
			j.LastCheckpoint = last
		}
		if !gone(pod) || len(b.pods) == 1 {
			sets = append(sets, podSet{name: pod.Name, field: "pod " + pod.Name, pods: 1, min: 1, template: podTemplate(pod)})
		}
	}
	if !j.Finished {
		j.Problem = b.incomplete(len(sets))
	}
	j.Suspended = j.Suspended && !b.runs()
	j.setGang(sets)
	j.Told, j.Waits = toldPod(lead)
	return j
}

// runs: some of the pods have a node. Those without units need none of the scheduler's
// leave to run, as a leader may, and count only where nobody asks for units.
func (b *bundle) runs() bool {
	var any, withUnits, asked bool
	for _, pod := range b.pods {
		asks, on := asksUnits(pod), pod.Spec.NodeName != "" && !over(pod)
		any, withUnits, asked = any || on, withUnits || asks && on, asked || asks
	}
	return withUnits || !asked && any
}

func asksUnits(pod *corev1.Pod) bool {
	set := podSet{template: podTemplate(pod)}
	return len(set.asks()) > 0
}

// incomplete says why the pods are not the group that they say they are.
func (b *bundle) incomplete(have int) string {
	lead, annotation := b.lead(), ""
	switch b.id.kind {
	case single:
		return ""
	case grouped:
		annotation = v1alpha1.AnnotationPodGroupSize
	case led:
		annotation = annotationLWSSize
	}
	text := lead.Annotations[annotation]
	size, err := strconv.Atoi(text)
	if err != nil || size < 1 {
		return fmt.Sprintf("annotation %s of pod %s: %q is not a number of pods", annotation, lead.Name, text)
	}
	for _, pod := range b.pods {
		if other := pod.Annotations[annotation]; b.id.kind == grouped && !gone(pod) && other != text {
			return fmt.Sprintf("annotation %s: pod %s says %q, pod %s %q", annotation, lead.Name, text, pod.Name, other)
		}
	}
	switch {
	case have > size:
		return fmt.Sprintf("the group has %d pods, and annotation %s of pod %s says %d", have, annotation, lead.Name, size)
	case have < size && b.id.kind == led:
		return fmt.Sprintf("%d of the %d pods of the group exist with the label %s; with startupPolicy LeaderReady, or exclusive placement, the others would never come",
			have, size, v1alpha1.LabelQueue)
	case have < size:
		return fmt.Sprintf("%d of the %d pods of the group exist", have, size)
	}
	return ""
}
