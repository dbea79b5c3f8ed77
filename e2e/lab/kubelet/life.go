package kubelet

import (
	"fmt"
	"strconv"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// What a pod of the lab may say about itself, as annotations, and what a node
// may, as a label. Durations are Go durations ("2s").
const (
	// AnnotationModelLoad is how long after its start the pod becomes ready.
	// Without it the pod is ready at once.
	AnnotationModelLoad = "lab.ebbtide.dev/model-load"
	// AnnotationCompleteAfter is how long after it became ready the pod succeeds.
	// Without it the pod runs until it is deleted.
	AnnotationCompleteAfter = "lab.ebbtide.dev/complete-after"
	// AnnotationExitAfter is how long after SIGTERM the pod exits. Without it,
	// DefaultExitAfter. Longer than the grace period, it ignores SIGTERM.
	AnnotationExitAfter = "lab.ebbtide.dev/exit-after"
	// AnnotationExitCode is the exit status after SIGTERM; without it,
	// DefaultExitCode. 0 ends the pod as Succeeded.
	AnnotationExitCode = "lab.ebbtide.dev/exit-code"

	// AnnotationUnkillable keeps the pod, with any value, from ending: its process hangs in
	// the kernel, and no signal ends it. It ends when the annotation is gone.
	AnnotationUnkillable = "lab.ebbtide.dev/unkillable"

	// LabelNodeLost on a node, with any value, takes it off the network: it is
	// not ready, and its kubelet stands still until the label is removed.
	LabelNodeLost = "lab.ebbtide.dev/lost"
)

const (
	// DefaultExitAfter is what a process that handles SIGTERM well takes.
	DefaultExitAfter = 300 * time.Millisecond
	// DefaultExitCode is that of a process that SIGTERM ended (128+15).
	DefaultExitCode = 143

	killedExitCode = 137 // 128 + SIGKILL
)

// life is what the kubelet remembers of one pod: when it saw things happen. A
// zero time has not been seen yet.
type life struct {
	running time.Time
	ready   time.Time
	term    time.Time
	// kill is when the grace period ends. It only ever moves forward in time to
	// an earlier instant.
	kill  time.Time
	grace int64
}

// observe returns the life after pod was seen at now.
func (l life) observe(pod *corev1.Pod, now time.Time) life {
	if l.running.IsZero() && pod.Status.Phase == corev1.PodRunning {
		l.running = now
	}
	if l.ready.IsZero() && isReady(pod) {
		l.ready = now
	}
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return l
	}
	grace := *pod.DeletionGracePeriodSeconds
	kill := now.Add(time.Duration(grace) * time.Second)
	switch {
	case l.term.IsZero():
		l.term, l.kill, l.grace = now, kill, grace
	case grace < l.grace:
		l.grace = grace
		if kill.Before(l.kill) {
			l.kill = kill
		}
	}
	return l
}

type action int

const (
	actNothing action = iota
	actReady
	actComplete
	actExit   // by itself, after SIGTERM
	actKill   // by SIGKILL, at the end of its grace
	actRemove // its processes have ended before
	actReject // an annotation cannot be read
	actStart  // the process of a program
	actSignal // to the process of a program
	actAdmit  // get devices, and start
	actRefuse // there are no devices for it
)

// step is the next thing to happen to a pod.
type step struct {
	act      action
	at       time.Time
	exitCode int32
	signal   syscall.Signal
	problem  string
}

// next returns what happens next to pod if it does not change.
func (l life) next(pod *corev1.Pod) step {
	if !l.term.IsZero() {
		if ended(pod) {
			return step{act: actRemove, at: l.term}
		}
		return l.termination(pod)
	}
	if ended(pod) || l.running.IsZero() {
		return step{}
	}
	if !isReady(pod) {
		return timed(pod, AnnotationModelLoad, actReady, l.running)
	}
	if l.ready.IsZero() {
		return step{}
	}
	return timed(pod, AnnotationCompleteAfter, actComplete, l.ready)
}

// termination is the race between the process's own exit and SIGKILL. An
// annotation that cannot be read must not keep a pod from dying.
func (l life) termination(pod *corev1.Pod) step {
	if _, hangs := pod.Annotations[AnnotationUnkillable]; hangs {
		return step{}
	}
	exitAfter, found, err := duration(pod, AnnotationExitAfter)
	if err != nil || !found {
		exitAfter = DefaultExitAfter
	}
	exit := l.term.Add(exitAfter)
	if l.kill.Before(exit) {
		return step{act: actKill, at: l.kill, exitCode: killedExitCode}
	}
	return step{act: actExit, at: exit, exitCode: exitCode(pod)}
}

func timed(pod *corev1.Pod, annotation string, act action, since time.Time) step {
	delay, found, err := duration(pod, annotation)
	switch {
	case err != nil:
		return step{act: actReject, at: since, problem: err.Error()}
	case !found:
		return step{}
	}
	return step{act: act, at: since.Add(delay)}
}

func duration(pod *corev1.Pod, annotation string) (time.Duration, bool, error) {
	text, found := pod.Annotations[annotation]
	if !found {
		return 0, false, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, true, fmt.Errorf("annotation %s: %w", annotation, err)
	}
	if d < 0 {
		return 0, true, fmt.Errorf("annotation %s: %q must not be negative", annotation, text)
	}
	return d, true, nil
}

func exitCode(pod *corev1.Pod) int32 {
	code, err := strconv.ParseUint(pod.Annotations[AnnotationExitCode], 10, 8)
	if err != nil {
		return DefaultExitCode
	}
	return int32(code)
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
