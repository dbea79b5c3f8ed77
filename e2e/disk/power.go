package disk

import (
	"context"
	"fmt"
	"os"

	"github.com/ebbtide/ebbtide/e2e/disk/trace"
	"github.com/ebbtide/ebbtide/e2e/disk/writer"
)

// everyTenth state is also written to again.
const everyTenth = 10

// record traces a writer from an empty ledger on. The error is trace.ErrUnavailable where
// that cannot be done.
func (r *run) record(ctx context.Context, appends int, fault *trace.Fault) (*recording, *trace.Record, error) {
	if err := os.WriteFile(r.ledger, r.empty, 0o600); err != nil {
		return nil, nil, err
	}
	cmd := r.program.command("append", "-file", r.ledger, "-until", fmt.Sprint(appends))
	record, err := r.c.tracer(ctx, cmd.Args, cmd.Env, r.ledger, fault)
	if err != nil {
		return nil, nil, fmt.Errorf("trace the writer: %w", err)
	}
	return &recording{base: r.empty, ops: record.Ops}, record, nil
}

// power enumerates what power cuts leave.
func (r *run) power(ctx context.Context) error {
	rec, record, err := r.record(ctx, r.c.Appends, nil)
	if err != nil {
		return err
	}
	if record.Exit != 0 {
		return fmt.Errorf("the traced writer ended with %d: %s", record.Exit, firstLine(record.Stderr))
	}
	if err := r.checkRecording(rec, record); err != nil {
		return err
	}
	cuts := rec.cuts()
	states := 0
	for _, cut := range cuts {
		acks := rec.acks(cut)
		for range r.c.StatesPerCut {
			states++
			if err := r.powerCut(rec.state(cut, -1, r.rng), acks, states%everyTenth == 0); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	r.counts.CrashStates += states
	fmt.Fprintf(r.c.Out, "power     %d states at %d cuts of %d appends (%d syncs, %d growths), %d with one entry in doubt\n",
		states, len(cuts), r.c.Appends, record.Count(trace.Sync), record.Count(trace.Truncate), r.counts.InDoubt)
	return r.droppedSync(ctx, rec)
}

// checkRecording looks whether the recording is whole: each append has two syncs, each growth
// one, and all of it together makes the file that is there.
func (r *run) checkRecording(rec *recording, record *trace.Record) error {
	if want := 2*r.c.Appends + record.Count(trace.Truncate); record.Count(trace.Sync) != want {
		return fmt.Errorf("%d syncs were seen, want two for each of %d appends and one for each of %d growths",
			record.Count(trace.Sync), r.c.Appends, record.Count(trace.Truncate))
	}
	if acks := rec.acks(len(rec.ops)); len(acks) != r.c.Appends {
		return fmt.Errorf("%d acknowledgements were seen, want %d", len(acks), r.c.Appends)
	}
	if record.Count(trace.Truncate) == 0 {
		return fmt.Errorf("the file did not grow in %d appends: that is not tried", r.c.Appends)
	}
	file, err := os.ReadFile(r.ledger)
	if err != nil {
		return err
	}
	if string(file) != string(rec.whole(len(rec.ops))) {
		return fmt.Errorf("the recorded writes do not make the file that the writer left")
	}
	return nil
}

// powerCut judges one state, and every so often what becomes of it.
func (r *run) powerCut(file []byte, acks []ack, again bool) error {
	if !again {
		j, err := r.examine(file, acks, writer.Request{})
		r.convict("power cut", j)
		r.doubt(j)
		return err
	}
	before, after, err := r.repeated(file, acks, 2, false)
	r.convict("power cut", before)
	r.convict("after a power cut", after)
	r.doubt(before)
	return err
}

// droppedSync is a control: one sync has no effect, and that must be seen.
func (r *run) droppedSync(ctx context.Context, rec *recording) error {
	const least = 0.05
	cuts := rec.cuts()
	guilty := 0
	for i := 1; i < len(cuts); i++ {
		j, err := r.examine(rec.state(cuts[i], cuts[i-1], r.rng), rec.acks(cuts[i]), writer.Request{})
		if err != nil {
			return err
		}
		if j.guilty() {
			guilty++
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	share := float64(guilty) / float64(len(cuts)-1)
	return r.control("one sync without effect", share > least, "%d of %d states guilty (%.0f%%, want more than %.0f%%)",
		guilty, len(cuts)-1, 100*share, 100*least)
}
