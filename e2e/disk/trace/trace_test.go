package trace_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/disk/trace"
)

const roleEnv = "EBBTIDE_TRACE_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		if err := play(role, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play is the traced program.
func play(role, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if role == "stream" {
		_, err := f.Write([]byte("x"))
		return err
	}
	other, err := os.Create(path + ".other")
	if err != nil {
		return err
	}
	for n := range 20 {
		// Some of it on another thread, and some to a file that is not ours.
		done := make(chan error)
		go func() {
			_, err := f.WriteAt([]byte(fmt.Sprintf("round %02d", n)), int64(n)*8)
			_, ignored := other.WriteAt([]byte("other"), 0)
			done <- errors.Join(err, ignored)
		}()
		if err := <-done; err != nil {
			return err
		}
		if n == 10 {
			if err := f.Truncate(4096); err != nil {
				return err
			}
		}
		if err := f.Sync(); err != nil {
			return err
		}
		fmt.Printf("done %d\n", n)
	}
	return errors.Join(other.Sync(), f.Close())
}

func run(t *testing.T, role string, fault *trace.Fault) (*trace.Record, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	record, err := trace.Run(context.Background(), []string{os.Args[0], path}, append(os.Environ(), roleEnv+"="+role), path, fault)
	if errors.Is(err, trace.ErrUnavailable) {
		t.Skip(err)
	}
	return record, err
}

// Everything is seen, in order, with its data, and nothing else.
func TestRecord(t *testing.T) {
	record, err := run(t, "write", nil)
	if err != nil || record.Exit != 0 {
		t.Fatalf("exit %v: %v", record, err)
	}
	var got, want strings.Builder
	for _, op := range record.Ops {
		fmt.Fprintf(&got, "%s %d %q %d\n", op.Call, op.Off, op.Data, op.Err)
	}
	for n := range 20 {
		fmt.Fprintf(&want, "write %d %q 0\n", n*8, fmt.Sprintf("round %02d", n))
		if n == 10 {
			fmt.Fprintf(&want, "truncate 4096 \"\" 0\n")
		}
		fmt.Fprintf(&want, "sync 0 \"\" 0\nsaid 0 %q 0\n", fmt.Sprintf("done %d\n", n))
	}
	if got.String() != want.String() {
		t.Errorf("recorded:\n%s\nwant:\n%s", got.String(), want.String())
	}
	if record.Count(trace.Sync) != 20 || record.Faulted {
		t.Errorf("%d syncs, faulted %v", record.Count(trace.Sync), record.Faulted)
	}
}

// A fault hits the call that it names, and the program hears of it.
func TestFaults(t *testing.T) {
	for _, fault := range []trace.Fault{
		{On: trace.Sync, Nth: 7, Errno: syscall.EIO},
		{On: trace.Write, Nth: 7, Errno: syscall.ENOSPC},
		{On: trace.Truncate, Nth: 1, Errno: syscall.ENOSPC},
	} {
		record, err := run(t, "write", &fault)
		if err != nil {
			t.Fatal(err)
		}
		if record.Exit != 3 || !record.Faulted || !strings.Contains(record.Stderr, fault.Errno.Error()) {
			t.Errorf("%s %d: exit %d, faulted %v, said %q", fault.On, fault.Nth, record.Exit, record.Faulted, record.Stderr)
		}
		last := record.Ops[len(record.Ops)-1]
		if last.Call != fault.On || last.Err != fault.Errno {
			t.Errorf("%s %d: the last call is %s with %v", fault.On, fault.Nth, last.Call, last.Err)
		}
		if n := record.Count(fault.On); n != fault.Nth-1 {
			t.Errorf("%s %d: %d succeeded", fault.On, fault.Nth, n)
		}
	}
}

// What is not recorded is not passed over.
func TestUnrecordedWrite(t *testing.T) {
	if _, err := run(t, "stream", nil); err == nil || !strings.Contains(err.Error(), "without an offset") {
		t.Errorf("a write that is not recorded: %v", err)
	}
}
