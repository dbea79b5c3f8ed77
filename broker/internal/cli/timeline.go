package cli

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/view"
)

type timelineOptions struct {
	*session
	out *output
	// from and to are as typed.
	from, to             string
	lender, loan, tenant string
	width                int

	query url.Values
}

func newTimelineCommand(s *session) *cobra.Command {
	o := &timelineOptions{session: s, out: newOutput()}
	cmd := &cobra.Command{
		Use:   "timeline",
		Short: "Draw load above and loans below on one time axis",
		Long: `Draw load above and loans below on one time axis, now or for any past time that the
ledger knows.

Of each lender that one may see, the load with its water marks; below, a line for each
loan, with when it was asked back, its grace and its return. "?" is a time of which the
load is not known. --from and --to take a time (2026-03-01T09:00:00Z, "2026-03-01 09:00",
2026-03-01; in UTC) or how long ago that is (90m, 12h, 7d).`,
		Example: `  # The last twelve hours
  kubectl ebbtide timeline

  # One lender, last week
  kubectl ebbtide timeline --lender serving/chat --from 7d

  # One loan
  kubectl ebbtide timeline --loan research/bert-large-1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.out.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.from, "from", "12h", "Begin at this time, or so long ago")
	flags.StringVar(&o.to, "to", "", "End at this time, or so long ago; default now")
	flags.StringVar(&o.lender, "lender", "", "Only this lender (namespace/name) and what it lent")
	flags.StringVar(&o.loan, "loan", "", "Only this loan (namespace/name), and its lenders")
	flags.StringVar(&o.tenant, "tenant", "", "Only loans of this tenant, or by its services")
	flags.IntVar(&o.width, "width", 0, "Columns of the picture; default $COLUMNS, or 80")
	_ = cmd.RegisterFlagCompletionFunc("lender", completeFlag(s, qualified(completeLenders))) // fails only for a flag that is not there
	_ = cmd.RegisterFlagCompletionFunc("loan", completeFlag(s, qualified(completeLoans)))     // as above
	return cmd
}

func (o *timelineOptions) complete() error {
	if err := o.out.validate(); err != nil {
		return err
	}
	if o.width == 0 {
		o.width, _ = strconv.Atoi(o.Getenv("COLUMNS")) // 0 if it is not set
	}
	if o.width == 0 {
		o.width = 80
	}
	if o.width < 50 {
		return fmt.Errorf("--width: %d is too narrow for the labels and a picture; use 50 or more", o.width)
	}
	now := o.Clock.Now()
	from, err := moment(o.from, now)
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	to := now
	if o.to != "" {
		if to, err = moment(o.to, now); err != nil {
			return fmt.Errorf("--to: %w", err)
		}
	}
	if !from.Before(to) {
		return fmt.Errorf("--from: %s is not before %s", clockTime(from), clockTime(to))
	}
	o.query = url.Values{"from": {from.UTC().Format(time.RFC3339)}, "to": {to.UTC().Format(time.RFC3339)}, "points": {strconv.Itoa(min(o.width*2, 1000))}}
	for _, f := range []struct{ flag, value string }{{"lender", strings.TrimPrefix(o.lender, "lender/")}, {"loan", strings.TrimPrefix(o.loan, "loan/")}} {
		if f.value == "" {
			continue
		}
		if strings.Count(f.value, "/") != 1 {
			return fmt.Errorf("--%s: %q must be namespace/name", f.flag, f.value)
		}
		o.query.Set(f.flag, f.value)
	}
	if o.tenant != "" {
		o.query.Set("tenant", o.tenant)
	}
	return nil
}

func (o *timelineOptions) run(ctx context.Context) error {
	broker, err := o.broker()
	if err != nil {
		return err
	}
	done := o.working("reading the ledger")
	t, err := broker.Timeline(ctx, o.query)
	done()
	if err != nil {
		return err
	}
	if !o.out.isText() {
		object, err := answer("Timeline", t)
		if err != nil {
			return err
		}
		return o.out.object(object, o.Streams.Out)
	}
	for _, note := range t.Notes {
		o.note("note: %s", note)
	}
	if t.Omitted > 0 {
		o.note("note: %s that began earlier are left out; ask for a shorter time, or one lender", counted(int64(t.Omitted), "loan"))
	}
	if len(t.Spans) == 0 && len(t.Loads) == 0 {
		o.note("Nothing was lent between %s and %s, as far as you may see.", clockTime(t.From), clockTime(t.To))
		return nil
	}
	_, err = fmt.Fprint(o.Streams.Out, o.picture(&t))
	return err
}

// gutter is what labels take left of a picture.
const gutter = 26

func (o *timelineOptions) picture(t *access.Timeline) string {
	axis := view.Axis{From: t.From, To: t.To, Width: o.width - gutter}
	var b strings.Builder
	for i := range t.Loads {
		b.WriteString(view.LoadPicture(&t.Loads[i], axis))
		if note := t.Loads[i].Note; note != "" {
			o.note("note: %s: %s", t.Loads[i].Lender, note)
		}
		b.WriteByte('\n')
	}
	for i := range t.Spans {
		_, t.Spans[i].Label = splitKey(t.Spans[i].Job)
	}
	b.WriteString(view.Timeline(t.Spans, axis))
	fmt.Fprintln(&b, view.Sum(t.Spans, axis))
	return b.String()
}

// moment reads a time, or how long ago it is.
func moment(text string, now time.Time) (time.Time, error) {
	if days, found := strings.CutSuffix(text, "d"); found {
		if n, err := strconv.ParseFloat(days, 64); err == nil && n >= 0 {
			return now.Add(-time.Duration(n * 24 * float64(time.Hour))), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: use 2026-03-01T09:00:00Z, \"2026-03-01 09:00\", or how long ago as in 12h or 7d", text)
}
