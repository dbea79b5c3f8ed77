package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ebbtide/ebbtide/e2e/lab/process"
)

const (
	pollInterval  = 20 * time.Millisecond
	healthTimeout = 2 * time.Second
	// restartDelay is how long a program whose Restart is set stays down after
	// it ended by itself.
	restartDelay = time.Second
	tailLines    = 25
)

// errNotRunning is what a part answers that has no process to act on.
var errNotRunning = errors.New("the part is not running")

// Part is one process of the lab. Its methods may be called from any goroutine,
// but calls that start and stop one part are the caller's to put in order.
type Part struct {
	name    string
	path    string
	args    []string
	environ []string
	logFile string
	grace   time.Duration // from SIGTERM to SIGKILL
	restart bool
	health  func(context.Context) error

	starter *process.Starter
	// exited is told of an end that nobody asked for.
	exited func(*Part, error)

	mu  sync.Mutex
	run *run
}

// run is one life of a part's process.
type run struct {
	*process.Process
	// asked says that an end of this run is no news: somebody asked for it, or is
	// still waiting for the part to be ready. Guarded by Part.mu.
	asked bool
}

// Name returns the part's name, such as KubeAPIServer.
func (p *Part) Name() string { return p.name }

// PID returns the id of the part's process, or 0 when it is not running.
func (p *Part) PID() int {
	if r := p.running(); r != nil {
		return r.PID()
	}
	return 0
}

// Start starts the part if it is not running. It does not wait until it is ready.
func (p *Part) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.startLocked(false)
}

// begin starts the part, which must not be running, and waits until it is ready.
// If it ends before, the error says so, and nobody else is told.
func (p *Part) begin(ctx context.Context) error {
	p.mu.Lock()
	err := p.startLocked(true)
	r := p.run
	p.mu.Unlock()
	if err != nil {
		return err
	}
	if err := p.WaitReady(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Exited() {
		return fmt.Errorf("%s ended as soon as it was ready: %w\n%s", p.name, errNotRunning, p.Tail())
	}
	r.asked = false
	return nil
}

func (p *Part) startLocked(asked bool) error {
	if p.run != nil && !p.run.Exited() {
		return nil
	}
	log, err := os.OpenFile(p.logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", p.name, err)
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), p.environ...)
	proc, err := p.starter.Start(cmd)
	if err != nil {
		return err
	}
	p.run = &run{Process: proc, asked: asked}
	go p.watch(p.run)
	return nil
}

// watch waits for the end of a run and reports it if nobody asked for it.
func (p *Part) watch(r *run) {
	<-r.Done()
	p.mu.Lock()
	asked := r.asked
	p.mu.Unlock()
	if asked {
		return
	}
	if !p.restart {
		p.exited(p, r.Err())
		return
	}
	time.AfterFunc(restartDelay, func() { p.startAgain(r) })
}

// startAgain follows up a run that ended by itself, unless the part was stopped
// or started in the meantime.
func (p *Part) startAgain(ended *run) {
	p.mu.Lock()
	if p.run != ended || ended.asked {
		p.mu.Unlock()
		return
	}
	err := p.startLocked(false)
	p.mu.Unlock()
	if err != nil {
		p.exited(p, err)
	}
}

// Kill ends the part with SIGKILL and returns once it is gone. A part that is
// not running is no error.
func (p *Part) Kill() error {
	r := p.ask()
	if r == nil {
		return nil
	}
	return r.Kill()
}

// Stop ends the part with SIGTERM, and with SIGKILL when that takes too long, and
// returns once it is gone. A frozen part is thawed. A part that is not running is
// no error.
func (p *Part) Stop() error {
	r := p.ask()
	if r == nil {
		return nil
	}
	_, err := r.Stop(p.grace)
	return err
}

// Freeze stops the part's process where it stands, with SIGSTOP: its connections
// stay open and, once Freeze has returned, nothing answers on them.
func (p *Part) Freeze() error { return p.act((*run).Freeze) }

// Thaw lets a frozen part go on.
func (p *Part) Thaw() error {
	return p.act(func(r *run) error { return r.Signal(syscall.SIGCONT) })
}

// act does something to the part's process, if there is one.
func (p *Part) act(do func(r *run) error) error {
	r := p.running()
	if r == nil {
		return fmt.Errorf("%s: %w", p.name, errNotRunning)
	}
	return do(r)
}

// Restart stops the part if it is running, starts it anew and waits until it is
// ready.
func (p *Part) Restart(ctx context.Context) error {
	if err := p.Stop(); err != nil {
		return err
	}
	return p.begin(ctx)
}

// WaitReady polls the part's health endpoint until it answers that it is ready.
// It fails when ctx ends, and at once when the part is not running.
func (p *Part) WaitReady(ctx context.Context) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	var last error
	for {
		attempt, cancel := context.WithTimeout(ctx, healthTimeout)
		err := p.health(attempt)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		if p.ended() {
			return fmt.Errorf("wait for %s: %w\n%s", p.name, errNotRunning, p.Tail())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; its last answer: %w\n%s", p.name, context.Cause(ctx), last, p.Tail())
		case <-ticker.C:
		}
	}
}

// Tail returns the last lines of the part's log, indented, below its path.
func (p *Part) Tail() string {
	text, err := os.ReadFile(p.logFile)
	if err != nil {
		return fmt.Sprintf("(no log of %s: %v)", p.name, err)
	}
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	return fmt.Sprintf("last lines of %s:\n    %s", p.logFile, strings.Join(lines, "\n    "))
}

// ended reports that the part is down and stays so until it is started.
func (p *Part) ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run == nil || p.run.Exited() && (p.run.asked || !p.restart)
}

func (p *Part) running() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil || p.run.Exited() {
		return nil
	}
	return p.run
}

// ask marks the end of the present run as asked for and returns the run, or nil
// when there is none to end.
func (p *Part) ask() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil {
		return nil
	}
	p.run.asked = true
	if p.run.Exited() {
		return nil
	}
	return p.run
}
