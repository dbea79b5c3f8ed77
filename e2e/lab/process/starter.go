// Package process runs child processes that never outlive their parent.
//
// It promises that a child started here is killed by the kernel when the parent
// dies, however the parent dies, SIGKILL included, and that a child's exit is
// noticed once and can be waited for by anyone. It holds for the child itself
// only: a child that forks must look after its own children.
//
// It refuses to hide an exit: a process that ends keeps its exit status until it
// is asked for, and never starts again by itself.
package process

import (
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// Starter starts child processes from one operating system thread that lives as
// long as the Starter.
//
// The kernel sends a child its parent-death signal when the *thread* that forked
// it ends, and Go ends and moves threads as it likes. A goroutine locked to a
// thread of its own is therefore the only safe place to fork from.
type Starter struct {
	requests chan startRequest
	stop     chan struct{}
	stopOnce sync.Once
	stopped  chan struct{}
}

type startRequest struct {
	cmd   *exec.Cmd
	reply chan error
}

// NewStarter returns a Starter. Close it when every child it started has ended.
func NewStarter() *Starter {
	s := &Starter{
		requests: make(chan startRequest),
		stop:     make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	go s.run()
	return s
}

// run never unlocks its thread, so that the thread ends together with the
// goroutine: a child that was left behind is killed then rather than adopted.
func (s *Starter) run() {
	defer close(s.stopped)
	runtime.LockOSThread()
	for {
		select {
		case req := <-s.requests:
			req.reply <- req.cmd.Start()
		case <-s.stop:
			return
		}
	}
}

// Start starts cmd in a process group of its own, so that a terminal's interrupt
// reaches the parent alone, which then stops its children in order.
func (s *Starter) Start(cmd *exec.Cmd) (*Process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	req := startRequest{cmd: cmd, reply: make(chan error, 1)}
	select {
	case s.requests <- req:
	case <-s.stopped:
		return nil, fmt.Errorf("start %s: the starter is closed", cmd.Path)
	}
	if err := <-req.reply; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go p.wait()
	return p, nil
}

// Close ends the Starter's thread and with it any child still running.
func (s *Starter) Close() {
	s.stopOnce.Do(func() { close(s.stop) })
	<-s.stopped
}
