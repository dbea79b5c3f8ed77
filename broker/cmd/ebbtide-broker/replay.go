package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/lend"
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

// replay compares the plans as written, the recorded one as it stands in the file.
func replay(data []byte, out, diff io.Writer) error {
	record, err := lend.ReadRecord(data)
	if err != nil {
		return err
	}
	var recorded struct {
		Plan json.RawMessage `json:"plan"`
	}
	if err := json.Unmarshal(data, &recorded); err != nil {
		return fmt.Errorf("read the recorded plan: %w", err)
	}
	again, err := json.Marshal(record.Replay())
	if err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	want, got := indent(recorded.Plan), indent(again)
	if _, err := fmt.Fprintln(out, got); err != nil {
		return fmt.Errorf("print the plan: %w", err)
	}
	if want == got {
		return nil
	}
	text := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n"))
	if _, err := fmt.Fprintf(diff, "ebbtide-broker: the plan is not the recorded one (-recorded +decided again):\n%s", text); err != nil {
		return fmt.Errorf("print the difference: %w", err)
	}
	return errReported
}

// indent keeps every byte but white space, so that a record may be pretty.
func indent(raw []byte) string {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return string(raw)
	}
	return b.String()
}
