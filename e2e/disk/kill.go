package disk

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

const (
	// mostAcks is before how many acknowledged entries a writer is killed.
	mostAcks = 40
	// roundsPerFile bounds the files' size.
	roundsPerFile = 25
)

// kills lets writers die at any moment, each going on from what the one before left.
func (r *run) kills(ctx context.Context) error {
	doubt, entries := 0, uint64(0)
	for round := range r.c.Kills {
		if round%roundsPerFile == 0 {
			if err := os.WriteFile(r.ledger, r.empty, 0o600); err != nil {
				return err
			}
		}
		acks, err := r.kill(ctx)
		if err != nil {
			return fmt.Errorf("kill %d: %w", round+1, err)
		}
		file, err := os.ReadFile(r.ledger)
		if err != nil {
			return err
		}
		before, after, err := r.repeated(file, acks, 1, false)
		if err != nil {
			return err
		}
		r.convict("killed writer", before)
		r.convict("after a killed writer", after)
		r.doubt(before)
		if before.inDoubt {
			doubt++
		}
		entries += uint64(len(acks))
		r.counts.Sigkills++
	}
	fmt.Fprintf(r.c.Out, "kills     %d writers killed after %d acknowledged entries, %d with one in doubt\n", r.c.Kills, entries, doubt)
	return r.earlyAck(ctx)
}

// kill starts a writer and kills it at some moment of the entries that follow one.
func (r *run) kill(ctx context.Context, args ...string) ([]ack, error) {
	cmd := r.program.command(append([]string{"append", "-file", r.ledger, "-until", "1000000000"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	target, wait := 1+r.rng.IntN(mostAcks), time.Duration(r.rng.IntN(1500))*time.Microsecond
	var acks []ack
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil || !strings.HasSuffix(line, "\n") {
			break // the last line may be torn
		}
		acks = append(acks, readAcks(line)...)
		if len(acks) == target {
			time.AfterFunc(wait, func() { _ = cmd.Process.Kill() })
		}
	}
	if err := cmd.Wait(); err == nil || len(acks) < target {
		return nil, fmt.Errorf("the writer ended by itself after %d entries: %w", len(acks), err)
	}
	return acks, ctx.Err()
}

// earlyAck is a control: a writer that acknowledges before the ledger does loses entries,
// unless it is killed between two. It is killed until one was lost, however few kills there
// are.
func (r *run) earlyAck(ctx context.Context) error {
	const most = 40
	rounds, guilty := 0, 0
	for ; rounds < min(r.c.Kills, most) || guilty == 0 && rounds < most; rounds++ {
		if err := os.WriteFile(r.ledger, r.empty, 0o600); err != nil {
			return err
		}
		acks, err := r.kill(ctx, "-ack-first")
		if err != nil {
			return err
		}
		file, err := os.ReadFile(r.ledger)
		if err != nil {
			return err
		}
		if testify(file, acks, 1).lost > 0 {
			guilty++
		}
	}
	return r.control("acknowledged too early", guilty > 0, "%d of %d killed writers lost an entry", guilty, rounds)
}
