package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	recorded "github.com/ebbtide/ebbtide/broker/internal/replay"
)

// errReported: the output says already what is wrong.
var errReported = errors.New("reported")

func newReplayCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "replay FILE",
		Short: "Decide again on a recorded decision, and compare",
		Long: `Reads a record (from /debug/snapshot, or a line of the file record.path), decides
again and prints the plan as JSON. It fails with a diff if the plan is not the
recorded one to the byte. FILE - is the standard input.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := readInput(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			return replay(data, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
}

func readInput(stdin io.Reader, path string) ([]byte, error) {
	if path == "-" {
		data, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("read the record from standard input: %w", err)
		}
		return data, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the record: %w", err)
	}
	return data, nil
}

// replay decides again, prints that, and fails with the difference if there is one.
func replay(data []byte, out, diff io.Writer) error {
	o, err := recorded.One(data)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, recorded.Indent(o.Plan)); err != nil {
		return fmt.Errorf("print the plan: %w", err)
	}
	if o.Difference == "" {
		return nil
	}
	if _, err := fmt.Fprintf(diff, "ebbtide-broker: the plan is not the recorded one (-recorded +decided again):\n%s", o.Difference); err != nil {
		return fmt.Errorf("print the difference: %w", err)
	}
	return errReported
}
