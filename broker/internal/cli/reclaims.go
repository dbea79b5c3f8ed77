package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/view"
)

// lookBack is how many entries are looked at in one question for the last reclaims.
const lookBack = 5000

type ledgerReclaimsOptions struct{ ledgerSelection }

func newLedgerReclaimsCommand(s *session) *cobra.Command {
	o := &ledgerReclaimsOptions{newLedgerSelection(s)}
	cmd := &cobra.Command{
		Use:   "reclaims",
		Short: "List how units were taken back, step by step, the newest last",
		Long: `List how units were taken back, step by step, the newest last.

The times are counted from when the units were asked for: until all pods had been TOLD,
until the job was suspended and its pods had to stop (STOPPED), until pods that were left
were KILLED, of which there is the number, and until the units were proven free or the
loan was over (ENDED). BOUND is how long that may take.`,
		Example: `  # The last ones
  kubectl ebbtide ledger reclaims

  # All of a tenant's, as JSON
  kubectl ebbtide ledger reclaims --tenant research --limit 0 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.addFlags(cmd, "reclaims", "Begin with what was asked for from this sequence number on rather than end with the newest",
		"what was taken back from", "what was taken back from")
	return cmd
}

func (o *ledgerReclaimsOptions) run(ctx context.Context) error {
	broker, err := o.broker()
	if err != nil {
		return err
	}
	list, err := o.read(ctx, broker)
	if err != nil {
		return err
	}
	if !o.out.isText() {
		return printReclaims(o.session, o.out, list)
	}
	if len(list) == 0 {
		o.note("No reclaims found.")
		return nil
	}
	return o.out.table(view.Reclaims(viewReclaims(list)), nil, o.Streams.Out)
}

// read gets the reclaims from --from on, or else the last ones.
func (o *ledgerReclaimsOptions) read(ctx context.Context, broker *access.Broker) ([]course.Reclaim, error) {
	if o.query.From > 0 || o.limit == 0 || o.query.Loan != "" {
		list, err := o.forward(ctx, broker)
		if n := len(list); o.limit > 0 && n > o.limit {
			if o.query.From > 0 {
				return list[:o.limit], err
			}
			return list[n-o.limit:], err
		}
		return list, err
	}
	page, err := broker.Ledger(ctx, access.LedgerQuery{Limit: 1})
	if err != nil {
		return nil, err
	}
	var list []course.Reclaim
	for end := page.Head.Seq + 1; end > 1 && len(list) < o.limit; {
		query := o.query
		query.From, query.Limit = end-min(end-1, lookBack), lookBack
		page, err := broker.Reclaims(ctx, query)
		if err != nil {
			return nil, err
		}
		// A tenant's page reaches further than this: what is in it is known already.
		fresh := slices.DeleteFunc(page.Reclaims, func(r course.Reclaim) bool { return r.Seq >= end })
		list, end = append(fresh, list...), query.From
	}
	return list[max(0, len(list)-o.limit):], nil
}

// forward follows the pages.
func (o *ledgerReclaimsOptions) forward(ctx context.Context, broker *access.Broker) ([]course.Reclaim, error) {
	var list []course.Reclaim
	query := o.query
	for {
		page, err := broker.Reclaims(ctx, query)
		if err != nil {
			return nil, err
		}
		list = append(list, page.Reclaims...)
		enough := o.query.From > 0 && o.limit > 0 && len(list) >= o.limit
		switch {
		case page.Next == 0 || enough:
			return list, nil
		case page.Next <= query.From:
			return nil, fmt.Errorf("the broker sends entry %d after entry %d", page.Next, query.From)
		}
		query.From = page.Next
	}
}

func printReclaims(s *session, out *output, list []course.Reclaim) error {
	items := make([]any, len(list))
	for i := range list {
		raw, err := json.Marshal(&list[i])
		if err != nil {
			return fmt.Errorf("write a reclaim: %w", err)
		}
		item := map[string]any{}
		if err := json.Unmarshal(raw, &item); err != nil {
			return fmt.Errorf("write a reclaim: %w", err)
		}
		item["apiVersion"], item["kind"] = answersVersion, "Reclaim"
		item["metadata"] = map[string]any{"name": fmt.Sprint(list[i].Seq)}
		items[i] = item
	}
	answered, err := answer("ReclaimList", map[string]any{"items": items})
	if err != nil {
		return err
	}
	return out.object(answered, s.Streams.Out)
}

// reclaimsOf are the reclaims that a loan's entries are about.
func reclaimsOf(raw []json.RawMessage) ([]view.Reclaim, error) {
	entries := make([]ledger.Entry, len(raw))
	for i := range raw {
		if err := json.Unmarshal(raw[i], &entries[i]); err != nil {
			return nil, fmt.Errorf("read a ledger entry: %w", err)
		}
	}
	return viewReclaims(course.Of(entries)), nil
}

func viewReclaims(list []course.Reclaim) []view.Reclaim {
	after := func(s *course.Step) time.Duration {
		if s == nil {
			return -1
		}
		return time.Duration(s.Seconds * float64(time.Second)).Round(time.Millisecond)
	}
	out := make([]view.Reclaim, len(list))
	for i := range list {
		r := &list[i]
		out[i] = view.Reclaim{
			Seq: r.Seq, Asked: r.Asked, Loan: r.Loan, Units: r.Units, Reason: r.Reason, Of: r.Untold, End: r.End,
			Told: after(r.Told), Stopped: after(r.Stopped), Killed: after(r.Killed), Ended: after(r.Ended),
			Bound: time.Duration(r.BoundSeconds * float64(time.Second)),
		}
		if r.Told != nil {
			out[i].Pods, out[i].Of = r.Told.Pods, r.Told.Pods+r.Untold
		}
		if r.Killed != nil {
			out[i].Left = r.Killed.Pods
		}
	}
	return out
}
