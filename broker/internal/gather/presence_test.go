package gather

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPresence: a pod that was told to end within a second will, where somebody answers.
// Elsewhere it will not before it is deleted for good, and then it is over.
func TestPresence(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	node := func(name string, ready corev1.ConditionStatus, since time.Duration) corev1.Node {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if ready != "" {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastTransitionTime: metav1.NewTime(now.Add(-since))}}
		}
		return n
	}
	presence := newPresence([]corev1.Node{
		node("ready", corev1.ConditionTrue, time.Hour), node("blip", corev1.ConditionFalse, time.Second),
		node("down", corev1.ConditionFalse, 2*time.Second), node("unheard", corev1.ConditionUnknown, time.Minute), node("new", "", 0),
	}, now)
	pod := func(node string, seconds int64, phase corev1.PodPhase) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase}}
		if seconds >= 0 {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: now}, &seconds
		}
		return p
	}
	tests := []struct {
		node         string
		seconds      int64 // of grace; negative: it was not deleted
		phase        corev1.PodPhase
		killed, over bool
	}{
		{"ready", -1, corev1.PodRunning, false, false},
		{"ready", 30, corev1.PodRunning, false, false},
		{"ready", 1, corev1.PodRunning, true, false},
		{"ready", 0, corev1.PodRunning, true, false}, // its kubelet says when it has ended
		{"ready", 0, corev1.PodFailed, true, true},
		{"ready", -1, corev1.PodSucceeded, false, true},
		{"blip", 1, corev1.PodRunning, true, false},
		{"blip", 0, corev1.PodRunning, true, false},
		{"down", -1, corev1.PodRunning, false, false},
		{"down", 30, corev1.PodRunning, false, false},
		{"down", 1, corev1.PodRunning, false, false},
		{"down", 0, corev1.PodRunning, true, true},
		{"unheard", 1, corev1.PodRunning, false, false},
		{"unheard", 0, corev1.PodRunning, true, true},
		{"gone", 1, corev1.PodRunning, false, false},
		{"gone", 0, corev1.PodRunning, true, true},
		{"new", 1, corev1.PodRunning, true, false},
		{"", 0, corev1.PodPending, true, false},
	}
	for _, test := range tests {
		p := pod(test.node, test.seconds, test.phase)
		if killed, over := presence.killed(p), presence.Over(p); killed != test.killed || over != test.over {
			t.Errorf("node %q, grace %d, %s: killed %v and over %v, want %v and %v", test.node, test.seconds, test.phase, killed, over, test.killed, test.over)
		}
	}
	if presence.Exists("gone") || !presence.Exists("down") {
		t.Error("it is not known which nodes exist")
	}
}
