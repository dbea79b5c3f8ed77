package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/internal/cli/term"
	"github.com/ebbtide/ebbtide/broker/view"
)

type topOptions struct {
	*session
	out   *output
	watch bool
	every time.Duration
	rows  int
	// within is the namespace, empty for all.
	within string
	ask    *access.Broker
}

func newTopCommand(s *session) *cobra.Command {
	o := &topOptions{session: s, out: newOutput("wide")}
	everywhere := false
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch who has the units, what lenders do, what waits and what is lent",
		Long: `Watch who has the units, what lenders do, what waits and what is lent.

On a terminal the screen is drawn anew every --every until Ctrl-C; into a pipe or a file
goes one frame, or with -w one after the other. Shown is what one may see: with -n, of one
namespace. In the bars, S are services, T training on its own quota, O other pods, L what
is lent, "." free and x broken. AGE of a lender is how long its REASON has held. GRACE is
that of "loans", with "<=" where you may not see what a lender allows; for a loan that slices
were made for, it may be too long by what undoing them takes: that only "loans" knows.`,
		Example: `  kubectl ebbtide top

  # One frame
  kubectl ebbtide top | cat

  # A log of it
  kubectl ebbtide top -w --every 1m >> top.log`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.every < 100*time.Millisecond {
				return fmt.Errorf("--every: %s is too often; use 100ms or more", o.every)
			}
			if o.rows < 1 {
				return fmt.Errorf("--rows: %d leaves nothing to show", o.rows)
			}
			ns, explicit, err := o.namespace()
			if err != nil {
				return err
			}
			if explicit && everywhere {
				return errors.New("--namespace and --all-namespaces exclude each other")
			}
			if explicit {
				o.within = ns
			}
			if o.ask, err = o.broker(); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "Go on, also where the output is no terminal")
	cmd.Flags().BoolVarP(&everywhere, "all-namespaces", "A", false, "All that one may see, which is the default")
	cmd.Flags().DurationVar(&o.every, "every", 2*time.Second, "How often to look")
	cmd.Flags().IntVar(&o.rows, "rows", 10, "At most so many rows of each table")
	return cmd
}

func (o *topOptions) run(ctx context.Context) error {
	live := term.Is(o.Streams.Out)
	if !live && !o.watch {
		return o.frame(ctx, o.Streams.Out)
	}
	tick := o.ticker().NewTicker(o.every)
	defer tick.Stop()
	for {
		// A frame is drawn whole: what takes long to ask must not flicker.
		var b bytes.Buffer
		err := o.frame(ctx, &b)
		switch {
		case ctx.Err() != nil:
			return nil // Ctrl-C is how one leaves
		case err != nil && !errors.Is(err, access.ErrUnreachable):
			return err
		case err != nil:
			fmt.Fprintf(&b, "%v; trying again\n", err)
		}
		if live {
			fmt.Fprint(o.Streams.Out, term.Home)
		}
		if _, err := b.WriteTo(o.Streams.Out); err != nil {
			return fmt.Errorf("draw: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
		}
	}
}

// frame writes what is now.
func (o *topOptions) frame(ctx context.Context, w io.Writer) error {
	lenders, at, err := o.ask.Lenders(ctx)
	if err != nil {
		return err
	}
	_, totals, err := o.ask.Nodes(ctx, "")
	if err != nil {
		return err
	}
	loans, _, err := o.ask.Loans(ctx, nil)
	if err != nil {
		return err
	}
	queue, err := o.ask.Queue(ctx)
	if err != nil {
		return err
	}
	now, paint := o.Clock.Now(), o.palette()
	head := fmt.Sprintf("%s, decided %s ago", clockTime(now), view.Span(now.Sub(at)))
	if gained, err := o.ask.Gained(ctx); err == nil {
		head += fmt.Sprintf("; today lent %.1f GPU-h, %s, %s", gained.LentGPUHours, counted(gained.Loans, "loan"), counted(gained.Reclaims, "reclaim"))
		if gained.SlowestReturnSecond > 0 {
			head += ", slowest return " + view.Latency(seconds(gained.SlowestReturnSecond))
		}
	}
	fmt.Fprintf(w, "%s\n\n%s", paint.Bold(head), view.Capacity(totals, 40))
	if err := o.section(w, paint.Bold("LENDERS"), o.lenders(lenders)); err != nil {
		return err
	}
	if err := o.section(w, paint.Bold("QUEUE"), o.queue(queue)); err != nil {
		return err
	}
	return o.section(w, paint.Bold("LOANS"), o.loans(loans, lenders))
}

// section is a table under a title, of so many rows at most.
func (o *topOptions) section(w io.Writer, title string, t view.Table) error {
	more := len(t.Rows) - o.rows
	fmt.Fprintf(w, "\n%s\n", title)
	if len(t.Rows) == 0 {
		_, err := fmt.Fprintln(w, "none")
		return err
	}
	t.Rows = t.Rows[:min(len(t.Rows), o.rows)]
	if err := o.out.table(t, nil, w); err != nil {
		return err
	}
	if more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
	return nil
}

// shows tells whether something of namespace/name is within what was asked for.
func (o *topOptions) shows(name string) bool {
	ns, _ := splitKey(name)
	return o.within == "" || ns == o.within
}

func (o *topOptions) lenders(rows []access.Lender) view.Table {
	var list []view.Lender
	for i := range rows {
		l := &rows[i]
		if !o.shows(l.Name) {
			continue
		}
		load := "unknown"
		if l.Utilization >= 0 {
			load = view.Percent(l.Utilization)
		}
		state := lenderState{refused: l.Refused, paused: l.Paused, advises: l.Advise, lendable: l.Lendable}
		if l.Recall != nil {
			state.recalled = l.Recall.Until
		}
		list = append(list, view.Lender{
			Name: l.Name, Flavor: l.Flavor, Owned: l.Owned, Held: l.Held, Need: l.Need, Warm: l.Headroom, Lent: l.Lent, Lendable: l.Lendable,
			Load: load, State: state.word(o.Clock.Now()), Reason: l.Reason, Created: l.Since,
		})
	}
	slices.SortStableFunc(list, func(a, b view.Lender) int { return cmp.Compare(b.Lent, a.Lent) })
	return view.Lenders(list, o.Clock.Now())
}

func (o *topOptions) queue(jobs []access.QueuedJob) view.Table {
	var list []view.QueuedJob
	for i := range jobs {
		j := &jobs[i]
		if !o.shows(j.Job) {
			continue
		}
		list = append(list, view.QueuedJob{
			Name: j.Job, Queue: j.Queue, Priority: &j.Priority, Pods: j.Pods, Units: j.Pods * j.UnitsPerPod,
			State: view.StateWaiting, Reason: j.Reason, Created: j.Created, Position: j.Position, Start: j.EstimatedStart,
		})
	}
	return view.Queue(list, o.Clock.Now())
}

func (o *topOptions) loans(rows []view.LoanRow, lenders []access.Lender) view.Table {
	var list []view.LoanRow
	for _, l := range rows {
		if o.shows(l.Name) {
			list = append(list, l)
		}
	}
	// What is being taken back is what somebody watches for.
	slices.SortStableFunc(list, func(a, b view.LoanRow) int {
		rank := func(l view.LoanRow) int {
			if l.State == view.StateActive {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.Units, a.Units))
	})
	allowed := map[string]time.Duration{}
	for i := range lenders {
		allowed[lenders[i].Name] = seconds(lenders[i].MaxGraceSeconds)
	}
	return view.LoanTable(list, func(lender string) (time.Duration, bool) {
		most, told := allowed[lender]
		return most, told
	}, o.Clock.Now())
}
