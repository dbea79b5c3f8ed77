package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

func newLedgerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Check, copy, export, mend or prune ledger files that no broker has open",
		Long: `Works on a ledger file that no broker has open: one whose broker is stopped, or a
copy. None of these commands asks the API server for anything.`,
	}
	cmd.AddCommand(newCheckCommand(), newExportCommand(), newBackupCommand(), newReindexCommand(), newRecoverCommand(), newPruneCommand(),
		newCorrectCommand())
	return cmd
}

func newExportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export FILE",
		Short: "Print all entries of all months as JSON, one on a line",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withFiles(args[0], func(l exporter) error {
				_, err := l.Export(cmd.OutOrStdout(), 1)
				return err
			})
		},
	}
}

func newBackupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE DEST",
		Short: "Write a checked copy",
		Long: `Verifies FILE and writes a copy to DEST, which must not exist and gets its name only
after the copy was verified as well. It prints what the copy holds.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withLedger(args[0], func(l *ledger.Ledger) error {
				report, err := l.Backup(args[1])
				if err != nil {
					return err
				}
				return printReport(cmd, report)
			})
		},
	}
}

func newReindexCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reindex FILE",
		Short: "Derive indexes, open loans and balances from the log again",
		Long: `Cures "ledger indexes disagree with the log": empties the buckets that follow from
the log and writes them again, in one transaction. The log itself stays as it is;
if it is not sound nothing is changed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := ledger.Reindex(args[0])
			if err != nil {
				return err
			}
			return printReport(cmd, report)
		},
	}
}

func newRecoverCommand() *cobra.Command {
	var known uint64
	cmd := &cobra.Command{
		Use:   "recover FILE --known SEQ",
		Short: "Give up a damaged header page, and the entry that it may have held",
		Long: `Cures "one of two header pages is damaged" and no other damage: writes that page
again from the other one. The file then ends with the last entry that the sound
page knows. The entry after it, if there was one, is given up.

SEQ is the highest sequence number known elsewhere; nothing is changed if the file
would end below it. The Loans know it:

  kubectl get loans.ebbtide.dev -A -o jsonpath='{range .items[*]}{.status.ledgerSeq}{"\n"}{end}' | sort -n | tail -1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := ledger.Recover(args[0], known)
			if err != nil {
				return err
			}
			if err := printReport(cmd, report); err != nil {
				return err
			}
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "given up: entry %d, if there was one\n", report.HeadSeq+1); err != nil {
				return fmt.Errorf("print what was given up: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().Uint64Var(&known, "known", 0, "highest sequence number known elsewhere; 0: none is known")
	_ = cmd.MarkFlagRequired("known") // fails only for a flag that is not there
	return cmd
}

type exporter interface {
	Export(w io.Writer, from uint64) (int, error)
}

// withLedger opens a ledger that exists; Open would make a new one where there
// is none.
func withLedger(path string, use func(*ledger.Ledger) error) (err error) {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("find the ledger: %w", err)
	}
	l, err := ledger.Open(path, ledger.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return use(l)
}

func printReport(cmd *cobra.Command, report *ledger.Report) error {
	if _, err := fmt.Fprint(cmd.OutOrStdout(), report); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return nil
}
