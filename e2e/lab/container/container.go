package container

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab/process"
)

// Container is one run of a program for a pod. Its methods may be called from any
// goroutine.
type Container struct {
	// Namespace, Name, UID and Node are the pod's.
	Namespace, Name, Node string
	UID                   types.UID

	ip      string
	folder  string
	log     string
	path    string
	args    []string
	environ []string
	// shown are the volumes that follow the pod.
	shown []shown

	proc *process.Process

	mu           sync.Mutex
	asked, ended bool
}

// IP is the container's own address.
func (c *Container) IP() string { return c.ip }

// PID is the id of the process.
func (c *Container) PID() int { return c.proc.PID() }

func (c *Container) start(starter *process.Starter) error {
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of pod %s/%s: %w", c.Namespace, c.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(c.path, c.args...)
	cmd.Dir, cmd.Env = filepath.Join(c.folder, "root"), c.environ
	cmd.Stdout, cmd.Stderr = log, log
	if c.proc, err = starter.Start(cmd); err != nil {
		return fmt.Errorf("start pod %s/%s: %w", c.Namespace, c.Name, err)
	}
	return nil
}

// Done is closed when the process has ended.
func (c *Container) Done() <-chan struct{} { return c.proc.Done() }

// ExitCode returns the exit status once the process has ended: 128 and the signal's
// number for one that a signal ended.
func (c *Container) ExitCode() (code int32, exited bool) {
	if !c.proc.Exited() {
		return 0, false
	}
	var exit *exec.ExitError
	switch err := c.proc.Err(); {
	case err == nil:
		return 0, true
	case !errors.As(err, &exit):
		return -1, true
	default:
		status, ok := exit.Sys().(syscall.WaitStatus)
		if ok && status.Signaled() {
			return 128 + int32(status.Signal()), true
		}
		return int32(exit.ExitCode()), true
	}
}

// Terminate sends SIGTERM, once.
func (c *Container) Terminate() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked {
		return nil
	}
	c.asked = true
	return c.proc.Signal(syscall.SIGTERM)
}

// Kill sends SIGKILL to the process and all that it has started and that is still in
// its group, once.
func (c *Container) Kill() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.proc.Exited() {
		return nil
	}
	c.ended = true
	if err := syscall.Kill(-c.proc.PID(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill pod %s/%s: %w", c.Namespace, c.Name, err)
	}
	return nil
}

// Asked and Killed tell which signals were sent.
func (c *Container) Asked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// Killed tells whether SIGKILL was sent.
func (c *Container) Killed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// end kills the process and waits until it is gone.
func (c *Container) end() {
	if err := c.Kill(); err != nil {
		_ = c.proc.Signal(syscall.SIGKILL) // nothing else is left to try
	}
	<-c.proc.Done()
}

// Refresh makes what the volumes show of the pod equal to it.
func (c *Container) Refresh(pod *corev1.Pod) error {
	for i := range c.shown {
		if err := c.shown[i].refresh(pod, c.ip); err != nil {
			return err
		}
	}
	return nil
}
