package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/e2e/disk/trace"
	"github.com/ebbtide/ebbtide/e2e/disk/writer"
)

// failing lets system calls fail, one in each run.
func (r *run) failing(ctx context.Context) error {
	r.forgotten = tally{}
	for k := 1; k <= r.c.EIO; k++ {
		if err := r.failAt(ctx, trace.Fault{On: trace.Sync, Nth: k, Errno: syscall.EIO}); err != nil {
			return err
		}
		r.counts.EIO++
	}
	fmt.Fprintf(r.c.Out, "failing   EIO at each of the first %d syncs, %d times with the entry kept\n", r.c.EIO, r.kept)
	for k := 1; k <= r.c.ENOSPC; k++ {
		fault := trace.Fault{On: trace.Write, Nth: k, Errno: syscall.ENOSPC}
		if k%10 == 0 {
			fault.On, fault.Nth = trace.Truncate, k/10%2+1
		}
		if err := r.failAt(ctx, fault); err != nil {
			return err
		}
		r.counts.ENOSPC++
	}
	fmt.Fprintf(r.c.Out, "failing   ENOSPC at %d writes and growths\n", r.c.ENOSPC)
	return r.control("operations forgotten", r.forgotten.tried > 0 && r.forgotten.guilty == r.forgotten.tried,
		"%d of %d entries written under another operation found doubled", r.forgotten.guilty, r.forgotten.tried)
}

// failAt runs a writer into one fault: it must stop. Then it judges the file as it is in the
// machine's memory, and as it may be on the disk, where what a failed sync was about is lost
// or not, and lets work go on from each.
func (r *run) failAt(ctx context.Context, fault trace.Fault) error {
	what := fmt.Sprintf("%s %s %d", fault.Errno, fault.On, fault.Nth)
	// Each append has two syncs or more, and as many writes.
	rec, record, err := r.record(ctx, fault.Nth/2+60, &fault)
	if err != nil {
		return err
	}
	if !record.Faulted || record.Exit != writer.ExitUnknown {
		return fmt.Errorf("%s: came about: %v; the writer ended with %d: %s", what, record.Faulted, record.Exit, firstLine(record.Stderr))
	}
	acks := rec.acks(len(rec.ops))
	file, err := os.ReadFile(r.ledger)
	if err != nil {
		return err
	}
	for _, state := range [][]byte{file, rec.state(len(rec.ops), -1, r.rng)} {
		before, after, err := r.repeated(state, acks, 3, false)
		if err != nil {
			return err
		}
		r.convict(what, before)
		r.convict("after "+what, after)
		if !before.inDoubt {
			continue
		}
		r.kept++
		r.doubt(before)
		if err := r.forget(state, acks); err != nil {
			return err
		}
	}
	return nil
}

// forget is a control: work whose outcome is unknown, and which is there, is written again
// under another operation. Only work that no other rule guards shows anything.
func (r *run) forget(file []byte, acks []ack) error {
	if writer.Work(last(acks)+1).Kind != ledger.Refused {
		return nil
	}
	_, after, err := r.repeated(file, acks, 1, true)
	r.forgotten.tried++
	if after.doubled > 0 {
		r.forgotten.guilty++
	}
	return err
}

// full runs writers into a limit on the file's size that the kernel keeps: it needs no
// tracer.
func (r *run) full(ctx context.Context) error {
	for _, limit := range r.c.Limits {
		if err := os.WriteFile(r.ledger, r.empty, 0o600); err != nil {
			return err
		}
		cmd := r.program.command("append", "-file", r.ledger, "-until", "100000", "-limit", fmt.Sprint(limit))
		var said, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &errs
		var exit *exec.ExitError
		if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != writer.ExitUnknown {
			return fmt.Errorf("a file of at most %d bytes: %w: %s", limit, err, firstLine(errs.String()))
		}
		file, err := os.ReadFile(r.ledger)
		if err != nil {
			return err
		}
		before, after, err := r.repeated(file, readAcks(said.String()), 3, false)
		if err != nil {
			return err
		}
		r.convict("full file", before)
		r.convict("after a full file", after)
		r.counts.ENOSPC++
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	fmt.Fprintf(r.c.Out, "failing   %d files that may not grow beyond a limit\n", len(r.c.Limits))
	return nil
}
