// Package writer is the small program that e2e/disk runs, kills and lets fail: it appends
// work to a ledger, or opens ledgers that may be damaged and says what they hold.
//
// It is a process of its own, so that a death of it is seen as one. It knows the product's
// ledger and nothing of how it is judged. Its words on standard output are lines: ACK, the
// number and hash of an entry that the ledger acknowledged; UNKNOWN, the number of one of
// which it does not know; and a line of JSON for each file that it was asked to open.
package writer

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// Exit codes of the program, beside 0 for all work done.
const (
	ExitUsage   = 2
	ExitUnknown = 3 // a commit's outcome is unknown, and nothing was written after it
	ExitWentOn  = 4 // it is unknown, and the ledger took another entry
	ExitRefused = 5 // the ledger could not be opened, or refused an entry
)

// Main runs the program with its arguments and returns its exit code.
func Main(args []string, in io.Reader, out, errs io.Writer) int {
	if len(args) == 0 {
		fmt.Fprintln(errs, "want append or open")
		return ExitUsage
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(errs)
	var w appender
	bare := false
	switch args[0] {
	case "append":
		flags.StringVar(&w.path, "file", "", "ledger")
		flags.Uint64Var(&w.until, "until", 0, "number of the last entry")
		flags.Uint64Var(&w.limit, "limit", 0, "bytes that the file may have, as the kernel enforces it; 0: no limit")
		flags.BoolVar(&w.ackFirst, "ack-first", false, "acknowledge before the ledger does, as nobody should")
	case "open":
		flags.BoolVar(&bare, "bare", false, "open as a bbolt file, without what the ledger adds to that")
	default:
		fmt.Fprintf(errs, "want append or open, got %q\n", args[0])
		return ExitUsage
	}
	if err := flags.Parse(args[1:]); err != nil {
		return ExitUsage
	}
	if args[0] == "open" {
		return open(in, out, errs, bare)
	}
	w.out = out
	code, err := w.run()
	if err != nil {
		fmt.Fprintln(errs, err)
	}
	return code
}

// appender adds work to a ledger from where it ends.
type appender struct {
	path         string
	until, limit uint64
	ackFirst     bool
	out          io.Writer
}

func (w *appender) run() (int, error) {
	l, err := ledger.Open(w.path, ledger.Options{})
	if err != nil {
		return ExitRefused, err
	}
	if w.limit > 0 {
		signal.Ignore(syscall.SIGXFSZ)
		if err := limitFile(w.limit); err != nil {
			return ExitRefused, err
		}
	}
	head, _ := l.Head()
	for n := head + 1; n <= w.until; n++ {
		if w.ackFirst {
			fmt.Fprintf(w.out, "ACK %d -\n", n)
		}
		e, err := l.Append(Work(n))
		switch {
		case errors.Is(err, ledger.ErrUnknownOutcome):
			return w.stopped(l, n, err)
		case err != nil:
			return ExitRefused, fmt.Errorf("append work %d: %w", n, err)
		case e.Seq != n:
			return ExitRefused, fmt.Errorf("work %d became entry %d", n, e.Seq)
		}
		if !w.ackFirst {
			fmt.Fprintf(w.out, "ACK %d %s\n", e.Seq, e.Hash)
		}
	}
	if err := l.Close(); err != nil {
		return ExitRefused, err
	}
	return 0, nil
}

// stopped tries to go on after an unknown outcome, which the ledger must refuse.
func (w *appender) stopped(l *ledger.Ledger, n uint64, cause error) (int, error) {
	fmt.Fprintf(w.out, "UNKNOWN %d\n", n)
	for _, again := range []uint64{n, n + 1} {
		if _, err := l.Append(Work(again)); !errors.Is(err, ledger.ErrUnknownOutcome) {
			return ExitWentOn, errors.Join(fmt.Errorf("the ledger did not refuse work %d after an unknown outcome", again), cause, err)
		}
	}
	return ExitUnknown, cause
}

// Work is the n-th entry that is written: loans that are granted and taken back, and jobs
// that are refused. Some need several pages. Its message begins with "work n:", which says
// whether a piece of work was written twice, under whatever operation.
func Work(n uint64) ledger.Entry {
	padding := 20
	switch {
	case n%13 == 5:
		padding = 9000
	case n%5 == 0:
		padding = 700
	}
	e := ledger.Entry{Epoch: 1, OpID: fmt.Sprintf("work-%d", n), Message: fmt.Sprintf("work %d: %s", n, strings.Repeat("x", padding))}
	if n == 1 {
		e.Kind = ledger.EpochStart
		return e
	}
	turn, step := (n-2)/6, (n-2)%6
	name := fmt.Sprintf("%d", turn)
	e.Loan = "research/loan-" + name
	switch step {
	case 0:
		e.Kind, e.Job, e.JobUID, e.Borrower = ledger.LendIntent, "research/job-"+name, "uid-"+name, "research"
		e.Grants = []ledger.Grant{
			{Lender: "serving/chat", Node: "gpu-1", Flavor: "h100", Count: 4}, {Node: "gpu-2", Flavor: "h100", Count: 2},
		}
	case 1:
		e.Kind = ledger.LendGranted
	case 2, 5:
		e.Kind, e.Loan, e.Job, e.Borrower, e.Reason = ledger.Refused, "", "research/job-"+name, "research", "NoUnits"
	case 3:
		e.Kind, e.ReclaimID = ledger.ReclaimIntent, "reclaim-"+name
	case 4:
		e.Kind = ledger.ReclaimDone
	}
	return e
}

// Create makes an empty ledger.
func Create(path string) error {
	l, err := ledger.Open(path, ledger.Options{ClusterUID: "disk"})
	if err != nil {
		return err
	}
	return l.Close()
}

// Run is Main for the process itself.
func Run(args []string) int { return Main(args, os.Stdin, os.Stdout, os.Stderr) }
