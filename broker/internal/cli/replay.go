package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/internal/replay"
)

// errOtherPlan makes Run return ExitBroken. What differs has been said by then.
var errOtherPlan = errors.New("a plan is not the recorded one")

func newReplayCommand(s *session) *cobra.Command {
	out := newOutput()
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Decide again on a recorded decision, and compare the plan to the byte",
		Long: `Decide again on a recorded decision, and compare the plan to the byte.

FILE has one record or many: what the broker answers on /debug/snapshot, or the file
that its configuration names as record.path. "-" is standard input. Nothing is asked
of a cluster. Exit code 3: a plan is not the recorded one; the difference is shown.
With -o json|yaml, the plans are shown as they were decided again.

A record is what a bug report needs. It names tenants, jobs and nodes.`,
		Example: `  kubectl ebbtide replay record.json

  # What did it decide?
  kubectl ebbtide replay record.json -o jsonpath='{.items[0].plan.actions}'`,
		Args: exactlyOne("say which record to replay: a file, or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := out.validate(); err != nil {
				return err
			}
			return replayFile(s, out, args[0])
		},
	}
	out.addFlags(cmd)
	return cmd
}

func replayFile(s *session, out *output, path string) error {
	from := s.Streams.In
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("read the record: %w", err)
		}
		defer file.Close()
		from = file
	}
	outcomes, err := replayAll(s, from)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	differ := 0
	items := make([]any, len(outcomes))
	for i, o := range outcomes {
		name := fmt.Sprint(i + 1)
		said := "identical"
		if o.Difference != "" {
			said = "differs"
			differ++
			s.note("record %s: the plan is not the recorded one (-recorded +decided again):\n%s", name, o.Difference)
		}
		items[i] = map[string]any{
			"apiVersion": answersVersion, "kind": "Replay", "metadata": map[string]any{"name": name},
			"decidedAt": o.Now.UTC(), "identical": o.Difference == "", "plan": o.Plan,
		}
		if !out.isText() {
			continue
		}
		if _, err := fmt.Fprintf(s.Streams.Out, "record %s  decided at %s  %s, %s  %s\n", name, clockTime(o.Now),
			counted(int64(o.Actions), "action"), counted(int64(o.Verdicts), "verdict"), said); err != nil {
			return fmt.Errorf("print a record: %w", err)
		}
	}
	if !out.isText() {
		if err := out.answers("Replay", items, nil, s.Streams.Out); err != nil {
			return err
		}
	}
	if differ > 0 {
		return errOtherPlan
	}
	return nil
}

func replayAll(s *session, from io.Reader) (all []replay.Outcome, err error) {
	done := s.working("deciding again")
	defer done()
	err = replay.Each(from, func(_ int, o replay.Outcome) error {
		all = append(all, o)
		return nil
	})
	return all, err
}
