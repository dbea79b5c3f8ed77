package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

func newLedgerCheckCommand(s *session) *cobra.Command {
	file := ""
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the whole ledger: every hash, balance and index",
		Long: `Check the whole ledger: every hash, balance and index.

Asks the broker to check its ledger, or reads a file that no broker has open.
Exit code 0: sound; 3: not sound, and the faults are listed; 1: not checked.`,
		Example: `  # The ledger in use
  kubectl ebbtide ledger check

  # A backup
  kubectl ebbtide ledger check --file ledger.db`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file != "" {
				return checkFile(s, file)
			}
			broker, err := s.broker()
			if err != nil {
				return err
			}
			check, err := broker.CheckLedger(cmd.Context())
			if err != nil {
				return err
			}
			return printCheck(s, check)
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "Ledger file to check, rather than the broker's")
	_ = cmd.MarkFlagFilename("file", "db") // fails only for a flag that is not there
	return cmd
}

func checkFile(s *session, path string) error {
	report, err := ledger.Check(path)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(s.Streams.Out, report.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if !report.OK() {
		return errBroken
	}
	return nil
}

func printCheck(s *session, check access.LedgerCheck) error {
	w := s.Streams.Out
	for _, problem := range check.Problems {
		fmt.Fprintf(w, "fault     %s\n", problem)
	}
	verdict := "ok"
	if !check.OK {
		verdict = "broken: stop the broker and run \"ebbtide-broker ledger check\" on its file, which says what to do"
	}
	if _, err := fmt.Fprintf(w, "head      %d %s\n%s\n", check.Head.Seq, check.Head.Hash, verdict); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if !check.OK {
		return errBroken
	}
	return nil
}
