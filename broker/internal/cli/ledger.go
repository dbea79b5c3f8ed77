package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/shown"
	"github.com/ebbtide/ebbtide/broker/view"
)

// ledgerPage is how many entries are asked for at once, and timelineWidth the
// width of the picture of a loan, which makes it 80 columns with its labels.
const (
	ledgerPage    = 500
	timelineWidth = 54
)

func newLedgerCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Read and check the record of every lending, reclaim and return",
		Long: `Read and check the record of every lending, reclaim, eviction, return and refusal.

The leading broker writes it; nothing here changes it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLedgerListCommand(s), newLedgerShowCommand(s), newLedgerReclaimsCommand(s), newLedgerCheckCommand(s), newLedgerExportCommand(s),
		newLedgerStatementCommand(s))
	return cmd
}

// ledgerSelection is which entries, or what is made of them, somebody wants to see, and how.
type ledgerSelection struct {
	*session
	query access.LedgerQuery
	limit int
	out   *output
}

func newLedgerSelection(s *session) ledgerSelection {
	return ledgerSelection{session: s, out: newOutput("wide")}
}

// addFlags adds the flags: most of plural, beginning as from says, and only those that are
// ofTenant or ofLoan, which "this tenant" and "this loan" complete.
func (s *ledgerSelection) addFlags(cmd *cobra.Command, plural, from, ofTenant, ofLoan string) {
	s.out.addFlags(cmd)
	cmd.Flags().IntVar(&s.limit, "limit", 50, "At most so many "+plural+"; 0 is all")
	cmd.Flags().Uint64Var(&s.query.From, "from", 0, from)
	cmd.Flags().StringVar(&s.query.Tenant, "tenant", "", "Only "+ofTenant+" this tenant")
	cmd.Flags().StringVar(&s.query.Loan, "loan", "", "Only "+ofLoan+" this loan (namespace/name)")
}

func (s *ledgerSelection) validate() error {
	if s.limit < 0 {
		return fmt.Errorf("--limit: %d is negative", s.limit)
	}
	if s.query.Loan != "" && strings.Count(s.query.Loan, "/") != 1 {
		return fmt.Errorf("--loan: %q must be namespace/name", s.query.Loan)
	}
	return s.out.validate()
}

type ledgerListOptions struct{ ledgerSelection }

func newLedgerListCommand(s *session) *cobra.Command {
	o := &ledgerListOptions{newLedgerSelection(s)}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List entries, the newest last",
		Example: `  # The last entries
  kubectl ebbtide ledger list

  # All that happened to a tenant's loans, as JSON
  kubectl ebbtide ledger list --tenant research --limit 0 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.addFlags(cmd, "entries", "Begin at this sequence number rather than end at the newest",
		"entries about loans of", "entries about")
	return cmd
}

func (o *ledgerListOptions) run(ctx context.Context) error {
	broker, err := o.broker()
	if err != nil {
		return err
	}
	raw, err := o.read(ctx, broker)
	if err != nil {
		return err
	}
	if !o.out.isText() {
		return printEntries(o.session, o.out, raw)
	}
	entries, err := viewEntries(raw)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		o.note("No ledger entries found.")
		return nil
	}
	return o.out.table(view.Ledger(entries, o.Clock.Now(), o.out.wide()), nil, o.Streams.Out)
}

// read gets the entries from --from on, or else the last ones.
func (o *ledgerListOptions) read(ctx context.Context, broker *access.Broker) ([]json.RawMessage, error) {
	query, limit := o.query, o.limit
	if limit == 0 {
		limit = math.MaxInt
	}
	fromEnd := query.From == 0 && o.limit > 0
	if fromEnd && query.Loan == "" && query.Tenant == "" {
		// Sequence numbers have no gaps, so the last entries begin at a known one.
		page, err := broker.Ledger(ctx, access.LedgerQuery{Limit: 1})
		if err != nil {
			return nil, err
		}
		if page.Head.Seq > uint64(limit) {
			query.From = page.Head.Seq - uint64(limit) + 1
		}
	}
	var entries []json.RawMessage
	err := eachPage(ctx, broker, query, func(page []json.RawMessage) (bool, error) {
		entries = append(entries, page...)
		return fromEnd || len(entries) < limit, nil
	})
	switch {
	case len(entries) <= limit:
	case fromEnd:
		entries = entries[len(entries)-limit:]
	default:
		entries = entries[:limit]
	}
	return entries, err
}

// eachPage hands on all pages of a query until use says that it has enough.
func eachPage(ctx context.Context, broker *access.Broker, query access.LedgerQuery, use func([]json.RawMessage) (more bool, err error)) error {
	query.Limit = ledgerPage
	for {
		page, err := broker.Ledger(ctx, query)
		if err != nil {
			return err
		}
		more, err := use(page.Entries)
		if err != nil || !more || len(page.Entries) == 0 {
			return err
		}
		next := page.Next
		if next == 0 && query.Tenant != "" {
			// Large entries may have cut a tenant's page short, without a sign of it.
			if next, err = after(page.Entries); err != nil {
				return err
			}
		}
		if next == 0 {
			return nil
		}
		if next <= query.From {
			return fmt.Errorf("the broker sends entry %d after entry %d", next, query.From)
		}
		query.From = next
	}
}

// after is the sequence number that follows the last of the entries.
func after(entries []json.RawMessage) (uint64, error) {
	var last struct {
		Seq uint64 `json:"seq"`
	}
	if err := json.Unmarshal(entries[len(entries)-1], &last); err != nil {
		return 0, fmt.Errorf("read a ledger entry: %w", err)
	}
	return last.Seq + 1, nil
}

func printEntries(s *session, out *output, raw []json.RawMessage) error {
	items := make([]any, len(raw))
	for i, r := range raw {
		var head struct {
			Seq uint64 `json:"seq"`
		}
		object := map[string]json.RawMessage{}
		if err := errors.Join(json.Unmarshal(r, &head), json.Unmarshal(r, &object)); err != nil {
			return fmt.Errorf("read a ledger entry: %w", err)
		}
		item := map[string]any{"apiVersion": answersVersion, "metadata": map[string]any{"name": fmt.Sprint(head.Seq)}}
		for name, value := range object {
			item[name] = value
		}
		// An entry's own kind says what happened; an object's says what it is.
		item["event"], item["kind"] = object["kind"], "LedgerEntry"
		items[i] = item
	}
	list, err := answer("LedgerEntryList", map[string]any{"items": items})
	if err != nil {
		return err
	}
	return out.object(list, s.Streams.Out)
}

func viewEntries(raw []json.RawMessage) ([]view.Entry, error) {
	out := make([]view.Entry, len(raw))
	for i, r := range raw {
		var e ledger.Entry
		if err := json.Unmarshal(r, &e); err != nil {
			return nil, fmt.Errorf("read a ledger entry: %w", err)
		}
		out[i] = viewEntry(&e)
	}
	return out, nil
}

func viewEntry(e *ledger.Entry) view.Entry { return shown.Entry(e) }

func newLedgerShowCommand(s *session) *cobra.Command {
	out := newOutput("wide")
	cmd := &cobra.Command{
		Use:   "show LOAN",
		Short: "Show the course of one loan: its entries, its reclaims by their parts, and a picture",
		Example: `  # From intent to return
  kubectl ebbtide ledger show bert-large-1 -n research`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFirst(s, completeLoans),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.validate(); err != nil {
				return err
			}
			return showLoan(cmd.Context(), s, out, args[0])
		},
	}
	out.addFlags(cmd)
	return cmd
}

func showLoan(ctx context.Context, s *session, out *output, name string) error {
	name = name[strings.LastIndexByte(strings.TrimPrefix(name, "loan/"), '/')+1:]
	ns, _, err := s.namespace()
	if err != nil {
		return err
	}
	broker, err := s.broker()
	if err != nil {
		return err
	}
	var raw []json.RawMessage
	err = eachPage(ctx, broker, access.LedgerQuery{Loan: ns + "/" + name}, func(page []json.RawMessage) (bool, error) {
		raw = append(raw, page...)
		return true, nil
	})
	if err != nil && !errors.Is(err, access.ErrUnknownSubject) {
		return err
	}
	if len(raw) == 0 {
		return fmt.Errorf("loan %q of namespace %q is not in the ledger", name, ns)
	}
	if !out.isText() {
		return printEntries(s, out, raw)
	}
	entries, err := viewEntries(raw)
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	if err := out.table(view.Ledger(entries, now, out.wide()), nil, s.Streams.Out); err != nil {
		return err
	}
	reclaims, err := reclaimsOf(raw)
	if err != nil {
		return err
	}
	if len(reclaims) > 0 {
		fmt.Fprintln(s.Streams.Out)
		if err := out.table(view.Reclaims(reclaims), nil, s.Streams.Out); err != nil {
			return err
		}
	}
	if err := printCorrections(raw, s.Streams.Out); err != nil {
		return err
	}
	spans := view.LoanSpans(entries)
	if len(spans) == 0 {
		return nil
	}
	axis := view.Axis{From: spans[0].From, To: spans[0].To, Width: timelineWidth}
	if spans[0].To.IsZero() {
		axis.To = now
	}
	_, err = fmt.Fprintf(s.Streams.Out, "\n%s", view.Timeline(spans, axis))
	return err
}

// printCorrections says what was corrected, by whom and why: it stands in no column.
func printCorrections(raw []json.RawMessage, w io.Writer) error {
	for _, r := range raw {
		var e ledger.Entry
		if err := json.Unmarshal(r, &e); err != nil {
			return fmt.Errorf("read a ledger entry: %w", err)
		}
		if e.Kind != ledger.Correction {
			continue
		}
		if _, err := fmt.Fprintf(w, "\n%d corrects %d: %s\n", e.Seq, e.Corrects, e.Message); err != nil {
			return fmt.Errorf("print a correction: %w", err)
		}
	}
	return nil
}
