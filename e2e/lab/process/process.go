package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopped is CLD_STOPPED of siginfo(2), which waitid gives for a child that
// stands.
const stopped = 5

// Process is one run of a child. Its methods may be called from any goroutine.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid once done is closed
}

func (p *Process) wait() {
	p.err = p.cmd.Wait()
	close(p.done)
}

// PID returns the process id the child had when it was started.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended and has been reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exited reports whether the child has ended.
func (p *Process) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Err waits for the end of the child and returns how it ended: nil for exit
// status 0, an *exec.ExitError otherwise.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Signal sends sig to the child. A child that has already ended is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	err := p.cmd.Process.Signal(sig)
	if err == nil || errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return fmt.Errorf("send %s to process %d: %w", sig, p.PID(), err)
}

// Freeze sends SIGSTOP and returns once every thread of the child stands: the
// signal alone returns while those on other processors still run, and a child
// that is thought frozen may answer a request sent after it. It returns an error
// for a child that has ended. Whoever thaws the child (SIGCONT) does so after
// Freeze has returned.
func (p *Process) Freeze() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	var info unix.Siginfo
	for {
		// The state is looked at and left: reaping is for wait.
		err := unix.Waitid(unix.P_PID, p.PID(), &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD), err == nil && info.Code != stopped:
			return fmt.Errorf("freeze process %d: it has ended", p.PID())
		case err != nil:
			return fmt.Errorf("wait until process %d stands: %w", p.PID(), err)
		default:
			return nil
		}
	}
}

// Kill sends SIGKILL and waits until the child is gone. It works on a frozen
// child too.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// Stop asks the child to end with SIGTERM, waking it first if it is frozen, and
// kills it when it is still there after grace. It returns once the child is
// gone, and reports whether it went by itself.
func (p *Process) Stop(grace time.Duration) (clean bool, err error) {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return false, err
	}
	if err := p.Signal(syscall.SIGCONT); err != nil {
		return false, err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return true, nil
	case <-timer.C:
		return false, p.Kill()
	}
}
