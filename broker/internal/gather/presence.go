package gather

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// silentAfter is how long a node must not have been ready to be silent: as long as what
// is killed gets to end.
const silentAfter = time.Second

// Presence knows which nodes exist, and on which of them nobody confirms that a pod has
// ended. A nil Presence knows of none that does not answer.
type Presence struct {
	exist, silent map[string]bool
}

func newPresence(nodes []corev1.Node, now time.Time) *Presence {
	p := &Presence{exist: map[string]bool{}, silent: map[string]bool{}}
	for i := range nodes {
		p.exist[nodes[i].Name] = true
		p.silent[nodes[i].Name] = silent(&nodes[i], now)
	}
	return p
}

// silent: the node has not been ready for a while. One that never said is not meant.
func silent(node *corev1.Node, now time.Time) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status != corev1.ConditionTrue && now.Sub(c.LastTransitionTime.Time) > silentAfter
		}
	}
	return false
}

// Exists tells whether there is a node of that name.
func (p *Presence) Exists(node string) bool { return p == nil || p.exist[node] }

// Answers tells whether it exists and is not silent.
func (p *Presence) Answers(node string) bool { return p == nil || p.exist[node] && !p.silent[node] }

// Over tells whether a pod is not to be waited for: it has ended, or it was deleted for
// good where nobody answers, and only a finalizer keeps the object.
func (p *Presence) Over(pod *corev1.Pod) bool {
	return ended(pod) || grace(pod) == 0 && p.abandoned(pod)
}

// abandoned: the pod is on a node that does not answer.
func (p *Presence) abandoned(pod *corev1.Pod) bool {
	return pod.Spec.NodeName != "" && !p.Answers(pod.Spec.NodeName)
}

// killed: the pod was told to end at once, and there is nothing that would hurry it more.
// Where nobody answers, a second lasts for ever.
func (p *Presence) killed(pod *corev1.Pod) bool {
	if p.abandoned(pod) {
		return grace(pod) == 0
	}
	return dying(pod)
}

// dying: told to stop within a second.
func dying(pod *corev1.Pod) bool {
	n := grace(pod)
	return n == 0 || n == 1
}

// grace is the seconds within which a pod was told to stop, negative if it was not.
func grace(pod *corev1.Pod) int64 {
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return -1
	}
	return *pod.DeletionGracePeriodSeconds
}
