//go:build unix

package ledger

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// childEnv makes the test binary play another process: "role path".
const childEnv = "EBBTIDE_LEDGER_TEST_CHILD"

func TestMain(m *testing.M) {
	role, path, _ := strings.Cut(os.Getenv(childEnv), " ")
	switch role {
	case "":
		os.Exit(m.Run())
	case "append":
		exitOn(appendForEver(path, os.Stdout))
	case "limit":
		exitOn(appendToLimit(path, os.Stdout))
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child starts the test binary in a role.
func child(t *testing.T, role, path string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+role+" "+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

// nextLoan is the entry after n others in an endless run of loans that are
// granted and released.
func nextLoan(n int) Entry {
	switch loan := n / 3; n % 3 {
	case 0:
		return lent(LendIntent, loan)
	case 1:
		return follow(LendGranted, loan, 1)
	default:
		return follow(Released, loan, 5)
	}
}

// appendForEver writes a line for each acknowledged entry.
func appendForEver(path string, ack io.Writer) error {
	l, err := Open(path, Options{})
	if err != nil {
		return err
	}
	seq, _ := l.Head()
	for n := int(seq); ; n++ {
		e, err := l.Append(nextLoan(n))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(ack, "%d %s\n", e.Seq, e.Hash); err != nil {
			return err
		}
	}
}

func TestKilledWriterLosesNothing(t *testing.T) {
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	path := tempPath(t)
	var inDoubt int
	var last uint64
	for round := range rounds {
		cmd, out := child(t, "append", path)
		acked := map[uint64]string{}
		kill := 1 + rand.IntN(60)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var seq uint64
			var hash string
			if _, err := fmt.Sscan(lines.Text(), &seq, &hash); err != nil {
				break // the last line may be torn
			}
			acked[seq], last = hash, seq
			if len(acked) == kill {
				// At some moment of the entries that follow.
				time.AfterFunc(time.Duration(rand.IntN(1500))*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
		}
		if err := cmd.Wait(); err == nil || len(acked) < kill {
			t.Fatalf("round %d: the writer ended by itself after %d entries: %v", round, len(acked), err)
		}
		l, err := Open(path, Options{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		head, _ := l.Head()
		if head < last || head > last+1 {
			t.Fatalf("round %d: head is %d, the last acknowledged entry %d", round, head, last)
		}
		if head == last+1 {
			inDoubt++
			// The writer does not know; it repeats the operation and gets the entry.
			if e := mustAppend(t, l, nextLoan(int(last))); e.Seq != head {
				t.Fatalf("round %d: repeated operation became entry %d, want %d", round, e.Seq, head)
			}
		}
		for seq, hash := range acked {
			got, err := l.Read(seq, 1)
			if err != nil || len(got) != 1 || got[0].Hash.String() != hash {
				t.Fatalf("round %d: acknowledged entry %d is lost: %v", round, seq, err)
			}
		}
		mustClose(t, l)
	}
	t.Logf("%d rounds, %d entries, %d rounds with one entry in doubt", rounds, last, inDoubt)
}

// appendToLimit fills the file up to a size that the kernel enforces, then
// writes the operation that failed.
func appendToLimit(path string, out io.Writer) error {
	signal.Ignore(syscall.SIGXFSZ)
	l, err := Open(path, Options{})
	if err != nil {
		return err
	}
	limit := syscall.Rlimit{Cur: 100 << 10, Max: 100 << 10}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	for n := 0; ; n++ {
		e := nextLoan(n)
		_, err := l.Append(e)
		if err == nil {
			continue
		}
		_, again := l.Append(nextLoan(n + 1))
		_, read := l.Read(0, 1)
		for _, err := range []error{err, again, read} {
			if !errors.Is(err, ErrUnknownOutcome) {
				return fmt.Errorf("want ErrUnknownOutcome, got %w", err)
			}
		}
		fmt.Fprintln(out, n)
		return nil
	}
}

func TestFullDiskIsAnUnknownOutcome(t *testing.T) {
	path := tempPath(t)
	cmd, out := child(t, "limit", path)
	var n int
	if _, err := fmt.Fscan(out, &n); err != nil {
		t.Errorf("read from the writer: %v", err)
	}
	if err := cmd.Wait(); err != nil || n < 10 {
		t.Fatalf("the writer failed after %d entries: %v", n, err)
	}
	l := openAt(t, path, Options{})
	if seq, _ := l.Head(); seq != uint64(n) {
		t.Errorf("head is %d, want %d: the next entry did not fit", seq, n)
	}
	if e := mustAppend(t, l, nextLoan(n)); e.Seq != uint64(n+1) {
		t.Errorf("repeated operation is entry %d, want %d", e.Seq, n+1)
	}
}

// bbolt may report an error and yet keep the transaction, or lose it.
func TestFailedCommitIsAnUnknownOutcome(t *testing.T) {
	errDisk := errors.New("input/output error")
	for name, kept := range map[string]bool{"entry kept": true, "entry lost": false} {
		t.Run(name, func(t *testing.T) {
			path := tempPath(t)
			fail := false
			l := openAt(t, path, Options{commit: func(tx *bolt.Tx) error {
				if !fail {
					return tx.Commit()
				}
				if kept {
					return errors.Join(tx.Commit(), errDisk)
				}
				return errors.Join(tx.Rollback(), errDisk)
			}})
			mustAppend(t, l, lent(LendIntent, 1))
			fail = true
			granted := follow(LendGranted, 1, 1)
			_, err := l.Append(granted)
			if !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, errDisk) || !strings.Contains(err.Error(), "operation op-1-LEND_GRANTED") {
				t.Fatalf("failed commit: %v", err)
			}
			fail = false
			_, appendErr := l.Append(granted)
			_, readErr := l.Read(0, 1)
			_, verifyErr := l.Verify()
			_, backupErr := l.Backup(path + ".copy")
			for i, err := range []error{appendErr, readErr, verifyErr, backupErr} {
				if !errors.Is(err, ErrUnknownOutcome) {
					t.Errorf("call %d after it: %v", i, err)
				}
			}
			mustClose(t, l)

			l = openAt(t, path, Options{})
			if loan, open := l.Loan(granted.Loan); !open || (loan.State == Granted) != kept {
				t.Errorf("after reopening the loan is %v (%v); entry kept: %v", loan.State, open, kept)
			}
			if e := mustAppend(t, l, granted); e.Seq != 2 {
				t.Errorf("repeated operation is entry %d, want 2", e.Seq)
			}
			mustAppend(t, l, follow(Released, 1, 9))
		})
	}
}
