package kubelet

import (
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// child is a process in some state.
type child struct {
	code                  int32
	exited, asked, killed bool
}

func (c child) ExitCode() (int32, bool) { return c.code, c.exited }
func (c child) Asked() bool             { return c.asked }
func (c child) Killed() bool            { return c.killed }

func TestNextOfProgram(t *testing.T) {
	pending := phase(pod(false), corev1.PodPending)
	// term is a life that saw a deletion at 1, with 30 seconds of grace.
	term := life{}.observe(deleted(pod(true), 30), at(1))
	tests := []struct {
		name  string
		life  life
		pod   *corev1.Pod
		child *child
		want  step
	}{
		{"starts at once", life{}, pending, nil, step{act: actStart}},
		{"deleted before it started", term, deleted(pending, 30), nil, step{act: actExit, at: at(1), exitCode: 137}},
		{"refused", life{}, phase(pod(false), corev1.PodFailed), nil, step{}},
		{"refused and deleted", term, deleted(phase(pod(false), corev1.PodFailed), 30), nil, step{act: actRemove, at: at(1)}},
		{"runs, and nobody knows", life{}, pending, &child{}, step{act: actStart}},
		{"runs until it ends", life{}, pod(true, AnnotationCompleteAfter, "1s"), &child{}, step{}},
		{"has ended", life{}, pod(true), &child{code: 0, exited: true}, step{act: actExit}},
		{"has failed before it was said to run", life{}, pending, &child{code: 3, exited: true}, step{act: actExit, exitCode: 3}},
		{"is asked to stop", term, deleted(pod(true, AnnotationExitAfter, "0s"), 30), &child{}, step{act: actSignal, at: at(1), signal: syscall.SIGTERM}},
		{"has its grace", term, deleted(pod(true), 30), &child{asked: true}, step{act: actSignal, at: at(31), signal: syscall.SIGKILL}},
		{"a shortened grace", term.observe(deleted(pod(true), 2), at(4)), deleted(pod(true), 2), &child{asked: true}, step{act: actSignal, at: at(6), signal: syscall.SIGKILL}},
		{"dies", term, deleted(pod(true), 30), &child{asked: true, killed: true}, step{}},
		{"has stopped", term, deleted(pod(true), 30), &child{asked: true, exited: true, code: 143}, step{act: actExit, exitCode: 143}},
		{"its end is written down", term, deleted(phase(pod(false), corev1.PodFailed), 30), &child{asked: true, exited: true, code: 143}, step{act: actRemove, at: at(1)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got step
			if test.child == nil {
				got = test.life.unstarted(test.pod)
			} else {
				got = test.life.process(test.pod, *test.child)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(step{}), cmp.Comparer(time.Time.Equal)); diff != "" {
				t.Errorf("next (-want +got):\n%s", diff)
			}
		})
	}
}
