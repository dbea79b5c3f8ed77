package kubelet

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab/container"
)

// process is what the kubelet must know of a pod's container.
type process interface {
	ExitCode() (code int32, exited bool)
	Asked() bool
	Killed() bool
}

// follow returns what happens next to a pod that is a process, if neither changes, and
// shows the process what has changed about its pod.
func (k *Kubelet) follow(l life, pod *corev1.Pod) (step, error) {
	c := k.programs.Get(pod.UID)
	if c == nil {
		return l.unstarted(pod), nil
	}
	if err := c.Refresh(pod); err != nil {
		return step{}, fmt.Errorf("show pod %s/%s to its process: %w", pod.Namespace, pod.Name, err)
	}
	return l.process(pod, c), nil
}

// unstarted is what happens next to a pod that is to be a process, and is not.
func (l life) unstarted(pod *corev1.Pod) step {
	switch {
	case ended(pod) && !l.term.IsZero():
		return step{act: actRemove, at: l.term}
	case ended(pod):
		return step{}
	case !l.term.IsZero():
		return step{act: actExit, at: l.term, exitCode: killedExitCode}
	}
	return step{act: actStart}
}

// process is what happens next to a pod with a process. Its end is written down as soon
// as it is seen, and so may be before its start was.
func (l life) process(pod *corev1.Pod, c process) step {
	code, exited := c.ExitCode()
	switch {
	case ended(pod):
		return l.unstarted(pod)
	case exited:
		return step{act: actExit, exitCode: code}
	case pod.Status.Phase != corev1.PodRunning:
		return step{act: actStart}
	case l.term.IsZero(), c.Killed():
		return step{}
	case !c.Asked():
		return step{act: actSignal, at: l.term, signal: syscall.SIGTERM}
	}
	return step{act: actSignal, at: l.kill, signal: syscall.SIGKILL}
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// start starts the pod's process, if it was not, and writes down that it runs. A pod
// that no process can stand for has failed.
func (k *Kubelet) start(ctx context.Context, pod *corev1.Pod) error {
	c := k.programs.Get(pod.UID)
	if c == nil {
		var err error
		c, err = k.programs.Start(ctx, pod)
		if errors.Is(err, container.ErrRefused) {
			return k.do(ctx, pod, step{act: actReject, problem: err.Error()})
		}
		if err != nil {
			return err
		}
		k.log.Info("Pod runs as a process", "pod", pod.Namespace+"/"+pod.Name, "pid", c.PID(), "ip", c.IP())
		go func() {
			<-c.Done()
			k.queue.Add(keyOf(pod))
		}()
	}
	if err := k.writeStatus(ctx, pod, startedStatus(pod, c.IP(), metav1.Now())); err != nil && !gone(err) {
		return fmt.Errorf("start pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// signal sends SIGTERM or SIGKILL, and has the pod looked at again: nothing in the
// cluster changes by it.
func (k *Kubelet) signal(pod *corev1.Pod, signal syscall.Signal) error {
	c := k.programs.Get(pod.UID)
	if c == nil {
		return nil
	}
	send := c.Terminate
	if signal == syscall.SIGKILL {
		send = c.Kill
	}
	k.log.Info("Pod gets a signal", "pod", pod.Namespace+"/"+pod.Name, "signal", signal.String())
	if err := send(); err != nil {
		return err
	}
	k.queue.Add(keyOf(pod))
	return nil
}

// bury ends the process of a pod that is not there any more, once its node is.
func (k *Kubelet) bury(pod types.UID) (again time.Duration, err error) {
	c := k.programs.Get(pod)
	switch {
	case c == nil:
		return 0, nil
	case k.Lost(c.Node) && k.known(c.Node):
		return lostRecheck, nil
	}
	return 0, k.programs.Remove(pod)
}

// known tells whether there is a node of that name.
func (k *Kubelet) known(node string) bool {
	_, exists, err := k.nodes.GetByKey(node)
	return err == nil && exists
}
