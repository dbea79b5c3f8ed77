package jobs

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/lineage"
)

var kindLWS = schema.GroupVersionKind{Group: "leaderworkerset.x-k8s.io", Version: "v1", Kind: "LeaderWorkerSet"}

// What a LeaderWorkerSet's controller writes on its pods. The label only narrows a
// search: which pods are together is told by who made them.
const (
	labelLWSName      = "leaderworkerset.sigs.k8s.io/name"
	annotationLWSSize = "leaderworkerset.sigs.k8s.io/size"
)

// leaderOf is the leader of the group that a pod of a LeaderWorkerSet is in, given what
// stands between the two: its leaders are made by one StatefulSet, and the workers of a
// leader by a StatefulSet of that leader's. When a leader goes, so do its workers, and
// the set makes a new one: a group that is stopped waits again as another job. It
// counts no restarts.
func leaderOf(pod *corev1.Pod, between []lineage.Owner) types.UID {
	for i := len(between) - 1; i >= 0; i-- {
		if between[i].Kind == kindPod.GroupKind() {
			return between[i].UID
		}
	}
	return pod.UID
}
