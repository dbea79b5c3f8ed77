package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

type correction struct {
	corrects      uint64
	actor, reason string
	postings      []string
}

func newCorrectCommand() *cobra.Command {
	c := &correction{}
	cmd := &cobra.Command{
		Use:   "correct FILE --corrects SEQ --actor WHO --reason WHY --posting ACCOUNT:FLAVOR:UNITMS[:TENANT]...",
		Short: "Move balances, because an entry was wrong",
		Long: `Adds a CORRECTION to the ledger of a broker that is stopped. Entry SEQ stays as it is;
balances move by the postings, and so do the statements of the month in which this is
written. Nothing else writes such an entry.

ACCOUNT is lender/NAMESPACE/NAME, borrower/TENANT, quarantine or lost. UNITMS are
unit-milliseconds, above 0 for who is to have more, and add up to 0 for each flavor.
TENANT is whose statement the posting is in, for all but borrowers; it may be empty. A
lender or borrower must have a balance of the flavor. The same correction is written once,
however often this is run; say it with another reason to make it twice.`,
		Example: `  # The node was gone an hour before: a unit's hour is not the borrower's
  ebbtide-broker ledger correct ledger.db --corrects 1204 --actor jane@example.com \
    --reason "the node was gone at 14:00" \
    --posting borrower/research:h100:3600000 --posting lost:h100:-3600000:research`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := c.write(args[0])
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "entry %d %s\n%s\n", e.Seq, e.Hash, e.Message); err != nil {
				return fmt.Errorf("print the entry: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().Uint64Var(&c.corrects, "corrects", 0, "number of the entry that was wrong")
	cmd.Flags().StringVar(&c.actor, "actor", "", "who corrects it")
	cmd.Flags().StringVar(&c.reason, "reason", "", "why")
	cmd.Flags().StringArrayVar(&c.postings, "posting", nil, "what moves; at least twice")
	for _, name := range []string{"corrects", "actor", "reason", "posting"} {
		_ = cmd.MarkFlagRequired(name) // fails only for a flag that is not there
	}
	return cmd
}

// write appends the correction, or finds it there.
func (c *correction) write(path string) (written ledger.Entry, err error) {
	postings := make([]ledger.Posting, len(c.postings))
	for i, text := range c.postings {
		if postings[i], err = ledger.ParsePosting(text); err != nil {
			return written, fmt.Errorf("--posting: %w", err)
		}
	}
	if _, err := os.Stat(path); err != nil {
		return written, fmt.Errorf("find the ledger: %w", err)
	}
	if segments.IsArchive(path) {
		return written, fmt.Errorf("%s is of a month that is over: give the newest file", path)
	}
	book, err := segments.Open(path, segments.Options{})
	if err != nil {
		return written, err
	}
	defer func() { err = errors.Join(err, book.Close()) }()
	about, err := book.Read(c.corrects, 1)
	if err != nil {
		return written, err
	}
	if len(about) == 0 || about[0].Seq != c.corrects || c.corrects == 0 {
		return written, fmt.Errorf("--corrects: there is no entry %d", c.corrects)
	}
	e, err := ledger.Correct(&about[0], c.actor, c.reason, postings, book.Balances())
	if err != nil {
		return written, err
	}
	e.Epoch = book.Epoch()
	return book.Amend(e)
}
