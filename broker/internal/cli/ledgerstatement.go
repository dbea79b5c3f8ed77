package cli

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/internal/cli/export"
	"github.com/ebbtide/ebbtide/broker/ledger/statement"
	"github.com/ebbtide/ebbtide/broker/view"
)

type ledgerStatementOptions struct {
	*session
	tenant, month, prices string
	out                   *output
}

func newLedgerStatementCommand(s *session) *cobra.Command {
	o := &ledgerStatementOptions{session: s, out: newOutput("table", "wide", "csv")}
	cmd := &cobra.Command{
		Use:   "statement --tenant TENANT",
		Short: "Show what a tenant lent, borrowed, had taken back and lost in a month",
		Long: `Show what a tenant lent, borrowed, had taken back and lost in a month.

HOURS are those of units of the flavor that lie in the month, in UTC: lent as a lender,
borrowed as a borrower. LOST and QUARANTINED hours, of nodes that went away and pods that
would not go, no borrower is asked for; what a lender lent has them in it. UNITS and LOANS
are those that ended in the month. What is open counts until now, in rows of its own.

A price list names what a unit costs for an hour, and how much of that is the lender's:

  prices:
  - flavor: h100
    perGPUHour: "2.50"
    currency: EUR
    lenderShare: "0.70" # absent: all of it

An AMOUNT is what the tenant is owed or, below 0, owes. It is rounded once for each row, to
millionths.`,
		Example: `  # This month so far
  kubectl ebbtide ledger statement --tenant research

  # October, in money, for a spreadsheet
  kubectl ebbtide ledger statement --tenant research --month 2026-10 --prices prices.yaml -o csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.out.validate(); err != nil {
				return err
			}
			if !cmd.Flags().Changed("tenant") {
				return errors.New("--tenant: is required; \"\" are lenders whose tenant is not known")
			}
			return o.run(cmd.Context())
		},
	}
	o.out.addFlags(cmd)
	cmd.Flags().StringVar(&o.tenant, "tenant", "", "Whose statement")
	cmd.Flags().StringVar(&o.month, "month", "", "Month (2026-11), in UTC; default this one")
	cmd.Flags().StringVar(&o.prices, "prices", "", "File with a price list")
	_ = cmd.MarkFlagFilename("prices", "yaml", "yml", "json") // fails only for a flag that is not there
	return cmd
}

func (o *ledgerStatementOptions) run(ctx context.Context) error {
	prices, err := readPrices(o.prices)
	if err != nil {
		return err
	}
	broker, err := o.broker()
	if err != nil {
		return err
	}
	month := o.month
	if month == "" {
		month = o.Clock.Now().UTC().Format("2006-01")
	}
	s, err := broker.Statement(ctx, o.tenant, month)
	if err != nil {
		return err
	}
	if prices != nil {
		if err := s.Price(prices); err != nil {
			return err
		}
	}
	return o.print(&s)
}

// readPrices is nil without a file.
func readPrices(file string) (statement.Prices, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--prices: %w", err)
	}
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("--prices: %s: %w", file, err)
	}
	prices, err := statement.ReadPrices(asJSON)
	if err != nil {
		return nil, fmt.Errorf("--prices: %s: %w", file, err)
	}
	return prices, nil
}

func (o *ledgerStatementOptions) print(s *statement.Statement) error {
	for _, flavor := range s.Unpriced {
		o.note("note: the price list has no price for %s", flavor)
	}
	switch {
	case o.out.format() == "csv":
		return o.sheet(s)
	case !o.out.isText():
		object, err := answer("LedgerStatement", s)
		if err != nil {
			return err
		}
		return o.out.object(object, o.Streams.Out)
	case len(s.Rows) == 0:
		o.note("Tenant %q neither lent nor borrowed in %s.", s.Tenant, s.Month)
		return nil
	}
	if err := o.out.table(statementTable(s), nil, o.Streams.Out); err != nil {
		return err
	}
	if !s.OpenUntil.IsZero() {
		o.note("What is open counts until %s.", s.OpenUntil.Format("2006-01-02 15:04:05 MST"))
	}
	return nil
}

var statementColumns = []view.Column{
	{Title: "FLAVOR"}, {Title: "ROLE"}, {Title: "STATE"}, {Title: "HOURS"}, {Title: "RECLAIMED"}, {Title: "LOST"}, {Title: "QUARANTINED"},
	{Title: "UNITS", Wide: true}, {Title: "LOANS"}, {Title: "RECLAIMED-UNITS", Wide: true}, {Title: "RECLAIMED-LOANS", Wide: true},
	{Title: "AMOUNT"}, {Title: "CURRENCY"},
}

// statementTable leaves the columns of money out where there is none.
func statementTable(s *statement.Statement) view.Table {
	t := view.Table{Columns: statementColumns}
	for i := range s.Rows {
		t.Rows = append(t.Rows, statementCells(&s.Rows[i], view.None))
	}
	for _, m := range s.Money {
		t.Rows = append(t.Rows, total(m))
	}
	if len(s.Money) == 0 {
		n := len(statementColumns) - 2
		t.Columns = t.Columns[:n]
		for i := range t.Rows {
			t.Rows[i] = t.Rows[i][:n]
		}
	}
	return t
}

func statementCells(r *statement.Row, none string) []string {
	reclaimed := statement.Reclaimed{}
	if r.Reclaimed != nil {
		reclaimed = *r.Reclaimed
	}
	state, money := "Ended", []string{none, none}
	if r.Open {
		state = "Open"
	}
	if r.Amount != nil {
		money = []string{r.Amount.String(), r.Currency}
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return append([]string{
		r.Flavor, string(r.Role), state, r.Hours().String(), reclaimed.Hours.String(), r.Lost.String(), r.Quarantined.String(),
		number(r.Units), number(r.Loans), number(reclaimed.Units), number(reclaimed.Loans),
	}, money...)
}

// total is the last row, of one currency.
func total(m statement.Money) []string {
	row := slices.Repeat([]string{view.None}, len(statementColumns))
	row[0], row[len(row)-2], row[len(row)-1] = "TOTAL", m.Amount.String(), m.Currency
	return row
}

// sheet prints CSV, with whose statement it is in each row, and without the sums that a
// spreadsheet makes by itself.
func (o *ledgerStatementOptions) sheet(s *statement.Statement) error {
	w := csv.NewWriter(o.Streams.Out)
	header := []string{"tenant", "month"}
	for _, c := range statementColumns {
		header = append(header, strings.ToLower(c.Title))
	}
	rows := [][]string{header}
	for i := range s.Rows {
		cells := statementCells(&s.Rows[i], "")
		cells[0] = export.Cell(cells[0])
		rows = append(rows, append([]string{export.Cell(s.Tenant), s.Month}, cells...))
	}
	if err := w.WriteAll(rows); err != nil {
		return fmt.Errorf("write the statement: %w", err)
	}
	return nil
}
