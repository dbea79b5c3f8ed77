package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/internal/discreet"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/view"
)

type whyEvictedOptions struct {
	*session
	out *output

	job jobs.Job
	api client.Client
	ask *access.Broker
}

// eviction is the last taking back from a job.
type eviction struct {
	course.Reclaim
	// Message is what was said when the units were asked back, empty where that is about
	// services of others; LostWork what that cost, in unit-seconds; negative if nobody said.
	Message  string
	LostWork float64
	Now      string
}

func newWhyEvictedCommand(s *session) *cobra.Command {
	o := &whyEvictedOptions{session: s, out: newOutput()}
	cmd := &cobra.Command{
		Use:     "why-evicted (JOB | KIND/JOB | pod/POD)",
		Aliases: []string{"why-evict"},
		Short:   "Say why a job's units were taken back last, what that cost, and where it is now",
		Long: `Say why a job's units were taken back last, what that cost, and where it is now.

It is read from the ledger: when the units were asked back, why and by which rule, how
long the pods had, what was lost, and where the job is in its queue. A pod may be gone:
its job is found by its name. Why a service wanted its units is said in full to who may see
the service, and to others by the rule alone.`,
		Example: `  kubectl ebbtide why-evicted bert-large -n research

  # By a pod that is gone
  kubectl ebbtide why-evicted pod/bert-large-0-x7k2p -n research`,
		Args:              exactlyOne("say whose: a job's name, or pod/NAME"),
		ValidArgsFunction: completeFirst(s, completeJobs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.out.validate(); err != nil {
				return err
			}
			if err := o.complete(cmd.Context(), args[0]); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.out.addFlags(cmd)
	return cmd
}

func (o *whyEvictedOptions) complete(ctx context.Context, arg string) (err error) {
	t, err := o.named(arg)
	if err != nil {
		return err
	}
	if o.api, err = o.cluster(); err != nil {
		return err
	}
	if o.ask, err = o.broker(); err != nil {
		return err
	}
	o.job, err = o.jobOf(ctx, t)
	return err
}

func (o *whyEvictedOptions) run(ctx context.Context) error {
	done := o.working("reading the ledger")
	found, earlier, err := o.last(ctx)
	if err == nil && found != nil {
		err = o.explain(ctx, found)
	}
	done()
	subject := o.job.Kind.Kind + " " + o.job.Key.String()
	switch {
	case err != nil:
		return err
	case found == nil:
		if earlier != nil {
			o.note("note: another job of this name was, at %s: \"kubectl ebbtide ledger show %s -n %s\"",
				clockTime(earlier.Asked), strings.TrimPrefix(earlier.Loan, o.job.Key.Namespace+"/"), o.job.Key.Namespace)
		}
		return fmt.Errorf("%s was never taken back, as far as the ledger was searched (%d entries); \"kubectl ebbtide explain %s\" says what it does now",
			subject, mostWindows*lookBack, shownName(&o.job))
	}
	if o.out.isText() {
		_, err := fmt.Fprintf(o.Streams.Out, "%s %s", subject, found.words(o.Clock.Now()))
		return err
	}
	value := map[string]any{
		"metadata": map[string]any{"name": o.job.Key.Name, "namespace": o.job.Key.Namespace},
		"job":      map[string]any{"apiVersion": o.job.Kind.GroupVersion().String(), "kind": o.job.Kind.Kind},
		"reclaim":  found.Reclaim, "rule": rulesByReason[found.Reason], "now": found.Now,
	}
	if found.Message != "" {
		value["message"] = found.Message
	}
	if found.LostWork >= 0 {
		value["lostWorkSeconds"] = found.LostWork
	}
	object, err := answer("Eviction", value)
	if err != nil {
		return err
	}
	return o.out.object(object, o.Streams.Out)
}

// explain reads what was said when the units were asked back, and where the job is now.
func (o *whyEvictedOptions) explain(ctx context.Context, e *eviction) error {
	e.LostWork = -1
	err := eachPage(ctx, o.ask, access.LedgerQuery{Loan: e.Loan}, func(page []json.RawMessage) (bool, error) {
		for _, raw := range page {
			var entry ledger.Entry
			if err := json.Unmarshal(raw, &entry); err != nil {
				return false, fmt.Errorf("read a ledger entry: %w", err)
			}
			if entry.Seq != e.Seq {
				continue
			}
			e.Message = entry.Message
			var cost struct {
				LostWorkSeconds *float64 `json:"lostWorkSeconds"`
			}
			if json.Unmarshal(entry.Payload, &cost) == nil && cost.LostWorkSeconds != nil {
				e.LostWork = *cost.LostWorkSeconds
			}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if !o.mayRead(ctx, e) {
		e.Message = ""
	}
	place, err := o.ask.Place(ctx, o.job.Key.String(), string(o.job.UID))
	switch {
	case err == nil:
		e.Now = fmt.Sprintf("waits in queue %s at position %d", o.job.Queue, place.Position)
		if !place.EstimatedStart.IsZero() {
			e.Now += ", and starts in about " + view.Span(place.EstimatedStart.Sub(o.Clock.Now()))
		}
	case !errors.Is(err, access.ErrUnknownSubject):
		return err
	case o.job.Finished:
		e.Now = "has ended"
	default:
		e.Now = "does not wait"
		if loans, err := listLoans(ctx, o.api, o.job.Key.Namespace, false); err == nil {
			if loan := openLoan(loans.Items, &o.job); loan != nil {
				e.Now = fmt.Sprintf("holds %s on loan %s", units(loan), loan.Name)
			}
		}
	}
	return nil
}

// mayRead tells whether all services may be named that the message is about: those that had
// lent the units, and any others that asked for them.
func (o *whyEvictedOptions) mayRead(ctx context.Context, e *eviction) bool {
	who, err := o.ask.Who(ctx)
	if err != nil {
		return false // a broker that does not say what somebody sees
	}
	hidden := func(lender string) bool { return !who.Sees(lender) }
	_, names := discreet.Text(e.Message, hidden)
	return !names && !slices.ContainsFunc(e.Lenders, hidden)
}

// words are the whole answer below its subject.
func (e *eviction) words(now time.Time) string {
	var b strings.Builder
	what := fmt.Sprintf("was asked for %s of loan %s", counted(e.Units, "unit"), e.Loan)
	if e.Part {
		what += ", and went on with the others"
	}
	if e.ReclaimID == "" {
		what = "lost its units on loan " + e.Loan + " to an online pod, for which the scheduler took them by itself"
	}
	fmt.Fprintf(&b, "%s.\n", what)
	line := func(title, text string) {
		if text != "" {
			fmt.Fprintf(&b, "  %-8s %s\n", title, text)
		}
	}
	line("when:", fmt.Sprintf("%s (%s ago)", clockTime(e.Asked), view.Span(now.Sub(e.Asked))))
	why := e.Reason
	if e.Message != "" {
		why = e.Message + " (" + e.Reason + ")"
	}
	line("why:", why)
	line("rule:", rulesByReason[e.Reason])
	line("course:", e.course())
	if e.LostWork >= 0 {
		line("lost:", view.UnitTime(e.LostWork)+" of work since its last checkpoint, with the time to start again")
	} else {
		line("lost:", "not recorded")
	}
	line("now:", e.Now)
	return b.String()
}

// course is what happened after that.
func (e *eviction) course() string {
	var parts []string
	if e.Told != nil {
		text := fmt.Sprintf("told %s after %s", counted(int64(e.Told.Pods), "pod"), view.Latency(seconds(e.Told.Seconds)))
		if e.Untold > 0 {
			text += fmt.Sprintf(" (%d not)", e.Untold)
		}
		parts = append(parts, text)
	}
	if e.Stopped != nil {
		parts = append(parts, "made to stop after "+view.Latency(seconds(e.Stopped.Seconds)))
	}
	if e.Killed != nil {
		parts = append(parts, fmt.Sprintf("%s killed after %s", counted(int64(e.Killed.Pods), "pod"), view.Latency(seconds(e.Killed.Seconds))))
	}
	switch {
	case e.Ended != nil && e.BoundSeconds > 0:
		parts = append(parts, fmt.Sprintf("over after %s of %s at the most", view.Latency(seconds(e.Ended.Seconds)), view.Latency(seconds(e.BoundSeconds))))
	case e.Ended != nil:
		parts = append(parts, "over after "+view.Latency(seconds(e.Ended.Seconds)))
	default:
		parts = append(parts, "not over yet")
	}
	return strings.Join(parts, ", ")
}
