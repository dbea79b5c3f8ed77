package lineage

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Below are the objects between a job and its pods, as far as they are known: those that
// the object of that UID controls, directly or through others, and those of them that
// were deleted. Every pod whose chain has the object in it is controlled by one of them,
// or by the object itself. The reverse need not hold: the chain of a pod that one of
// them controls may end below the object.
//
// So whose pods are a job's can be found without an index of pods that would have to
// change whenever a chain does: by the pods' own controllers, from above.
func (l *Lineage) Below(namespace string, uid types.UID) []types.UID {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.below[key{namespace, uid}]) == 0 {
		return nil
	}
	seen := map[types.UID]bool{uid: true}
	found, level := []types.UID(nil), []types.UID{uid}
	for depth := 1; depth < mostLinks && len(level) > 0; depth++ {
		var next []types.UID
		for _, above := range level {
			for child := range l.below[key{namespace, above}] {
				if !seen[child] {
					seen[child] = true
					next = append(next, child)
				}
			}
		}
		found, level = append(found, next...), next
	}
	return found
}

// Queued tells whether a pod carries the label of a queue, or anybody in its chain does
// of whom that is known. complete is as Chain says it: if it is false, that nobody does
// is not known yet. Who was deleted counts as long as he stands in the chain.
func (l *Lineage) Queued(pod metav1.Object) (queued, complete bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	chain, complete := l.climb(pod.GetNamespace(), ownerOf(pod))
	queued = hasQueue(pod)
	for _, o := range chain {
		queued = queued || l.links[key{pod.GetNamespace(), o.UID}].queued
	}
	return queued, complete
}

func hasQueue(object metav1.Object) bool { return object.GetLabels()[v1alpha1.LabelQueue] != "" }

// adopt files an object under who controls it; the caller holds the lock.
func (l *Lineage) adopt(at key, owner Owner) {
	if owner.UID == "" {
		return
	}
	above := key{at.namespace, owner.UID}
	if l.below == nil {
		l.below = map[key]map[types.UID]bool{}
	}
	if l.below[above] == nil {
		l.below[above] = map[types.UID]bool{}
	}
	l.below[above][at.uid] = true
}

// orphan undoes adopt.
func (l *Lineage) orphan(at key, owner Owner) {
	above := key{at.namespace, owner.UID}
	delete(l.below[above], at.uid)
	if len(l.below[above]) == 0 {
		delete(l.below, above)
	}
}
