package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/internal/cli/export"
)

type ledgerExportOptions struct {
	*session
	query  access.LedgerQuery
	to     uint64
	format string
	file   string
}

func newLedgerExportCommand(s *session) *cobra.Command {
	o := &ledgerExportOptions{session: s}
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write entries as JSON lines, exactly as the ledger has them, or as CSV or Parquet",
		Long: `Write entries as JSON lines, exactly as the ledger has them, or as CSV or Parquet.

JSON lines and Parquet have all of an entry. CSV has a row for each grant of an entry, and
texts that a spreadsheet would take for a formula begin with an apostrophe.`,
		Example: `  # Everything, for another tool
  kubectl ebbtide ledger export > ledger.jsonl

  # What is new since the last time
  kubectl ebbtide ledger export --from 1201 >> ledger.jsonl

  # A tenant's entries, for a spreadsheet and for a warehouse
  kubectl ebbtide ledger export --tenant research --format csv --file research.csv
  kubectl ebbtide ledger export --tenant research --format parquet --file research.parquet`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&o.format, "format", "jsonl", "One of "+strings.Join(export.Formats(), ", "))
	cmd.Flags().StringVar(&o.file, "file", "", "Write to this file, which is there when all is written, rather than to standard output")
	cmd.Flags().Uint64Var(&o.query.From, "from", 0, "Begin at this sequence number")
	cmd.Flags().Uint64Var(&o.to, "to", 0, "End with this sequence number")
	cmd.Flags().StringVar(&o.query.Tenant, "tenant", "", "Only entries about loans of this tenant, as borrower or lender")
	return cmd
}

func (o *ledgerExportOptions) validate() error {
	if o.to != 0 && o.to < o.query.From {
		return fmt.Errorf("--to: %d is before --from %d", o.to, o.query.From)
	}
	return export.CheckFormat(o.format)
}

func (o *ledgerExportOptions) run(ctx context.Context) error {
	broker, err := o.broker()
	if err != nil {
		return err
	}
	write := func(w io.Writer) error { return o.write(ctx, broker, w) }
	if o.file == "" {
		return write(o.Streams.Out)
	}
	return export.File(o.file, write)
}

// write writes page after page, as they come.
func (o *ledgerExportOptions) write(ctx context.Context, broker *access.Broker, to io.Writer) error {
	w, err := export.New(to, o.format)
	if err != nil {
		return err
	}
	err = eachPage(ctx, broker, o.query, func(page []json.RawMessage) (bool, error) {
		for _, entry := range page {
			if o.to != 0 {
				next, err := after([]json.RawMessage{entry})
				if err != nil {
					return false, err
				}
				if next > o.to+1 {
					return false, nil
				}
			}
			if err := w.Write(entry); err != nil {
				return false, fmt.Errorf("write the entries: %w", err)
			}
		}
		return true, nil
	})
	if err == nil || o.format == "jsonl" { // what has come is good by itself
		err = errors.Join(err, w.Close())
	}
	return err
}
