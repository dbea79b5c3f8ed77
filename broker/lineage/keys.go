package lineage

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Key names, within a namespace, what a Loan is made for: a job by its UID, or a group of
// pods by its name. It is a string so that indexes can be made by it.
type Key string

const (
	byUID   = "uid/"
	byGroup = "group/"
)

// JobKey is the key of the job of that UID.
func JobKey(uid types.UID) Key { return Key(byUID + string(uid)) }

// LoanKeys are the keys under which the pods of a Loan's job look for it.
func LoanKeys(job *v1alpha1.JobRef) []Key {
	keys := []Key{JobKey(job.UID)}
	if job.PodGroup != "" {
		keys = append(keys, Key(byGroup+job.PodGroup))
	}
	return keys
}

// Keys are the keys under which a pod's Loan is looked for, in that order: the pod
// itself, then its chain from below, then its group. complete is as Chain says it: if
// it is false and none of the keys has a Loan, it is not known yet whether the pod's job
// has one.
//
// The label of a group is the only one that counts, and only on a pod in a queue: a group
// is made of such pods. It leads to no job but such a group, which is made of nothing
// else, and to none in another namespace.
func (l *Lineage) Keys(pod metav1.Object) (keys []Key, complete bool) {
	chain, complete := l.Chain(pod)
	keys = append(keys, JobKey(pod.GetUID()))
	for _, owner := range chain {
		keys = append(keys, JobKey(owner.UID))
	}
	if group := pod.GetLabels()[v1alpha1.LabelPodGroup]; group != "" && hasQueue(pod) {
		keys = append(keys, Key(byGroup+group))
	}
	return keys, complete
}
