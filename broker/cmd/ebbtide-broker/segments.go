package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/seal"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

func newCheckCommand() *cobra.Command {
	var quick bool
	var keyFile, against string
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Verify every page, checksum, hash, index and balance, of all months",
		Long: `Verifies the whole file and those of the months before it, without changing anything,
prints what they hold and every fault, and ends with "ok" or with what is wrong and
what to do. FILE may also be a file of a month before: it is looked at alone.

With --public-key, checkpoints must be signed by that key: PEM, or base64 as a
checkpoint names it. With --against the ledger must have the entry SEQ with that hash,
as the head was published or written down. With --quick only the pages are read, as the broker has done
before it opens a file.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var report *ledger.Report
			key, err := readPublicKey(keyFile)
			if err != nil {
				return err
			}
			if quick {
				report, err = quickCheck(args[0])
			} else {
				report, err = checkAgainst(args[0], key, against)
			}
			if err != nil {
				return err
			}
			if err := printReport(cmd, report); err != nil {
				return err
			}
			if !report.OK() {
				return errReported
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&quick, "quick", false, "read all pages, and no more")
	cmd.Flags().StringVar(&keyFile, "public-key", "", "file with the public key that checkpoints must be signed by")
	cmd.Flags().StringVar(&against, "against", "", "SEQ:HASH that the ledger must have")
	cmd.MarkFlagsMutuallyExclusive("quick", "public-key")
	cmd.MarkFlagsMutuallyExclusive("quick", "against")
	return cmd
}

func checkAgainst(path string, key seal.PublicKey, against string) (*ledger.Report, error) {
	if against == "" {
		return segments.Check(path, key)
	}
	known, err := ledger.ParseKnown(against)
	if err != nil {
		return nil, fmt.Errorf("--against: %w", err)
	}
	return segments.Check(path, key, known)
}

func readPublicKey(path string) (seal.PublicKey, error) {
	if path == "" {
		return seal.PublicKey{}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return seal.PublicKey{}, fmt.Errorf("read the public key: %w", err)
	}
	return seal.ParsePublicKey(text)
}

// quickCheck looks at the pages of all files.
func quickCheck(path string) (*ledger.Report, error) {
	names, err := segments.Files(path)
	if err != nil {
		return nil, err
	}
	var newest *ledger.Report
	for i := len(names) - 1; i >= 0; i-- {
		report, err := ledger.CheckQuick(names[i])
		if err != nil {
			return nil, err
		}
		if newest == nil {
			newest = report
		} else {
			newest.Merge(report)
		}
	}
	return newest, nil
}

func newPruneCommand() *cobra.Command {
	var before, actor string
	cmd := &cobra.Command{
		Use:   "prune FILE --before YYYY-MM",
		Short: "Remove files of old months",
		Long: `Removes the files of a ledger that have nothing of the month given or later. Copy
them first if anybody may ever ask for them: a statement of a month needs its file.

All files must be sound. The newest and the one before it are always kept, and those
with the first entries of what is open. Every balance stands in the files that are
left, and a GAP entry says which numbers are in no file, and who wanted it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			removed, err := segments.Prune(args[0], before, cmp.Or(actor, os.Getenv("USER"), fmt.Sprintf("user %d", os.Getuid())))
			for _, p := range removed {
				_, printed := fmt.Fprintf(cmd.OutOrStdout(), "removed %s: entries %d to %d, whose hash was %s\n", filepath.Base(p.Path), p.From, p.To, p.Head)
				err = errors.Join(err, printed)
			}
			if err == nil && len(removed) == 0 {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), "nothing to remove")
			}
			return err
		},
	}
	cmd.Flags().StringVar(&before, "before", "", "first month of which anything is kept, such as 2026-09")
	cmd.Flags().StringVar(&actor, "actor", "", "who wants it, for the GAP entry; absent: the user of this process")
	_ = cmd.MarkFlagRequired("before") // fails only for a flag that is not there
	return cmd
}

// withFiles opens a ledger that exists, with the files of all months; a file of a month
// before is opened alone.
func withFiles(path string, use func(exporter) error) (err error) {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("find the ledger: %w", err)
	}
	var book interface {
		exporter
		Close() error
	}
	if segments.IsArchive(path) {
		book, err = ledger.OpenArchive(path, ledger.Options{})
	} else {
		book, err = segments.Open(path, segments.Options{})
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, book.Close()) }()
	return use(book)
}
