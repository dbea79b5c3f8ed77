package process_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ebbtide/ebbtide/e2e/lab/process"
)

// helperEnv makes the test binary a parent that starts a child, prints the
// child's process id and waits to be killed.
const helperEnv = "EBBTIDE_PROCESS_TEST_PARENT"

// busyEnv makes it a process of many threads that never rest.
const busyEnv = "EBBTIDE_PROCESS_TEST_BUSY"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		parent()
	}
	if os.Getenv(busyEnv) != "" {
		busy()
	}
	goleak.VerifyTestMain(m)
}

func parent() {
	child, err := process.NewStarter().Start(exec.Command("sleep", "600"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(child.PID())
	select {}
}

func busy() {
	runtime.GOMAXPROCS(16)
	var turns atomic.Int64
	for range 16 {
		go func() {
			for {
				turns.Add(1)
			}
		}()
	}
	fmt.Println("busy")
	select {}
}

func start(t *testing.T, script string) *process.Process {
	t.Helper()
	s := process.NewStarter()
	ready := filepath.Join(t.TempDir(), "ready")
	p, err := s.Start(exec.Command("sh", "-c", script, "sh", ready))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		s.Close()
	})
	if strings.Contains(script, "$1") {
		await(t, "the child to be ready", func() bool { _, err := os.Stat(ready); return err == nil })
	}
	return p
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestChildDiesWithKilledParent(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the parent said %q", line)
	}
	if !alive(pid) {
		t.Fatalf("child %d does not run", pid)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the parent was not killed")
	}
	await(t, "the child to die", func() bool { return !alive(pid) })
}

// alive reports whether the process runs; one that nobody has reaped yet does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

func TestStopWithinGrace(t *testing.T) {
	p := start(t, `trap 'exit 3' TERM; touch "$1"; while :; do sleep 0.01; done`)
	clean, err := p.Stop(time.Minute)
	if err != nil || !clean {
		t.Fatalf("Stop: clean=%t, %v; want a clean stop", clean, err)
	}
	if got := p.Err().Error(); got != "exit status 3" {
		t.Errorf("ended with %q, want exit status 3", got)
	}
}

func TestStopKillsAfterGrace(t *testing.T) {
	p := start(t, `trap '' TERM; touch "$1"; while :; do sleep 0.01; done`)
	began := time.Now()
	clean, err := p.Stop(100 * time.Millisecond)
	if err != nil || clean {
		t.Fatalf("Stop: clean=%t, %v; want it killed", clean, err)
	}
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("killed after %s, before its grace", took)
	}
	if got := p.Err().Error(); got != "signal: killed" {
		t.Errorf("ended with %q, want signal: killed", got)
	}
}

func TestStopThawsFrozen(t *testing.T) {
	p := start(t, `trap 'exit 3' TERM; touch "$1"; while :; do sleep 0.01; done`)
	if err := p.Freeze(); err != nil {
		t.Fatal(err)
	}
	clean, err := p.Stop(time.Minute)
	if err != nil || !clean {
		t.Fatalf("Stop: clean=%t, %v; want a clean stop", clean, err)
	}
}

// TestFrozenStands has a child of many busy threads: none of them may be running
// when Freeze returns.
func TestFrozenStands(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), busyEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := process.NewStarter()
	defer s.Close()
	p, err := s.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if err := p.Freeze(); err != nil {
			t.Fatal(err)
		}
		for tid, state := range threads(t, p.PID()) {
			if state != "T" {
				t.Fatalf("thread %s of a frozen process is in state %s", tid, state)
			}
		}
		if err := p.Freeze(); err != nil {
			t.Fatalf("freeze what stands already: %v", err)
		}
		if err := p.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.Freeze(); err == nil {
		t.Error("an ended process could be frozen")
	}
}

// threads returns the scheduling state of each thread of a process.
func threads(t *testing.T, pid int) map[string]string {
	t.Helper()
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) == 0 {
		t.Fatalf("threads of process %d: %d, %v", pid, len(stats), err)
	}
	states := map[string]string{}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// The name stands in parentheses and may hold anything.
		rest := string(b[bytes.LastIndexByte(b, ')')+1:])
		states[filepath.Base(filepath.Dir(path))] = strings.Fields(rest)[0]
	}
	return states
}

func TestSignalAfterExit(t *testing.T) {
	p := start(t, `exit 0`)
	<-p.Done()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("signal to an ended process: %v", err)
	}
	if !p.Exited() || p.Err() != nil {
		t.Errorf("Exited %t, Err %v; want true, nil", p.Exited(), p.Err())
	}
}

func TestStartAfterClose(t *testing.T) {
	s := process.NewStarter()
	s.Close()
	if _, err := s.Start(exec.Command("true")); err == nil {
		t.Error("a closed starter started a process")
	}
}

func TestStartMissingProgram(t *testing.T) {
	s := process.NewStarter()
	defer s.Close()
	_, err := s.Start(exec.Command("/no/such/program"))
	if err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("got %v, want an error naming the program", err)
	}
}
