package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/view"
)

type reclaimOptions struct {
	*session
	out    *output
	keep   *int64
	length time.Duration
	cancel bool
	dryRun bool

	target target
	api    client.Client
}

func newReclaimCommand(s *session) *cobra.Command {
	o := &reclaimOptions{session: s, out: newOutput("wide")}
	var keep int64
	cmd := &cobra.Command{
		Use:   "reclaim lender/NAME [--keep N] [--for 1h] [--dry-run]",
		Short: "Ask a service's lent units back by hand, and keep them for a time",
		Long: `Ask a service's lent units back by hand, and keep them for a time.

Until --for is over, --keep units (all that the service owns unless it is given) are
kept for it, whatever its load says; those of them that are lent are asked back now,
with the grace that their loans have. Fewer are asked back if fewer are enough. After
that the load decides again. It sets spec.recall of the LendingPolicy, so that it is
authorized and audited as any change of it.

--dry-run changes nothing and names the loans that would end, as the broker's next
decision would choose them.`,
		Example: `  # Which jobs would end, and when would the units be back?
  kubectl ebbtide reclaim lender/chat --dry-run -n serving

  # All of them, for two hours
  kubectl ebbtide reclaim lender/chat --for 2h -n serving

  # Keep 48 units for an hour
  kubectl ebbtide reclaim lender/chat --keep 48 -n serving

  # Let the load decide again
  kubectl ebbtide reclaim lender/chat --cancel -n serving`,
		Args:              exactlyOne("say whose units: lender/NAME"),
		ValidArgsFunction: completeFirst(s, completeOwn(kindLender)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("keep") {
				o.keep = &keep
			}
			if o.cancel && (o.dryRun || o.keep != nil || cmd.Flags().Changed("for")) {
				return errors.New("--cancel ends what was asked for: it goes with none of --keep, --for and --dry-run")
			}
			if err := o.complete(args[0]); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.out.addFlags(cmd)
	cmd.Flags().Int64Var(&keep, "keep", 0, "Units to keep for the service; default all that it owns")
	cmd.Flags().DurationVar(&o.length, "for", time.Hour, "How long, e.g. 90m")
	cmd.Flags().BoolVar(&o.cancel, "cancel", false, "End what was asked for before: the load decides again")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "Change nothing, and show which loans would end")
	return cmd
}

func (o *reclaimOptions) complete(arg string) (err error) {
	switch {
	case o.keep != nil && *o.keep < 0:
		return fmt.Errorf("--keep: %d is negative", *o.keep)
	case o.length < time.Second:
		return fmt.Errorf("--for: %s is too short; use a duration such as 90m", o.length)
	}
	if err := o.out.validate(); err != nil {
		return err
	}
	if o.target, err = o.own(arg, kindLender); err != nil {
		return err
	}
	o.api, err = o.cluster()
	return err
}

func (o *reclaimOptions) run(ctx context.Context) error {
	if o.dryRun {
		return o.rehearse(ctx)
	}
	policy := &v1alpha1.LendingPolicy{}
	policy.Namespace, policy.Name = o.target.key.Namespace, o.target.key.Name
	patch, err := o.patch()
	if err != nil {
		return err
	}
	err = o.api.Patch(ctx, policy, client.RawPatch(types.MergePatchType, patch), fieldManager)
	switch {
	case apierrors.IsNotFound(err):
		return missing(ctx, o.api, o.target)
	case err != nil:
		return noRight(err, "patch", o.target)
	}
	kind := v1alpha1.GroupVersion.WithKind("LendingPolicy")
	policy.SetGroupVersionKind(kind)
	if !o.out.isText() {
		return o.out.object(policy, o.Streams.Out)
	}
	if policy.Spec.Mode == v1alpha1.ModeAdvise && !o.cancel {
		o.note("note: its mode is Advise, so nothing of it is lent")
	}
	_, err = fmt.Fprintf(o.Streams.Out, "%s %s\n", typedName(kind, policy.Name), o.done(policy))
	return err
}

// patch is the change of the object.
func (o *reclaimOptions) patch() ([]byte, error) {
	var recall *v1alpha1.Recall
	if !o.cancel {
		recall = &v1alpha1.Recall{Keep: o.keep, Until: metav1.NewTime(o.Clock.Now().Add(o.length).UTC().Truncate(time.Second))}
	}
	// A recall replaces the one before as a whole: what it does not say is not kept.
	spec := map[string]any{"recall": recall}
	if recall != nil && recall.Keep == nil {
		spec["recall"] = map[string]any{"keep": nil, "until": recall.Until}
	}
	data, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return nil, fmt.Errorf("write the change: %w", err)
	}
	return data, nil
}

func (o *reclaimOptions) done(policy *v1alpha1.LendingPolicy) string {
	if o.cancel {
		return "no longer asked back by hand"
	}
	kept := "all its units"
	if o.keep != nil {
		kept = counted(*o.keep, "unit")
	}
	text := fmt.Sprintf("asked back: keeps %s until %s", kept, clockTime(policy.Spec.Recall.Until.Time))
	if lent := policy.Status.Lent; lent > 0 {
		text += fmt.Sprintf(" (%d lent now)", lent)
	}
	return text
}

// rehearse shows what would end, and changes nothing.
func (o *reclaimOptions) rehearse(ctx context.Context) error {
	broker, err := o.broker()
	if err != nil {
		return err
	}
	done := o.working("asking the broker")
	r, err := broker.Recall(ctx, o.target.key.String(), o.keep)
	done()
	switch {
	case errors.Is(err, access.ErrUnknownSubject):
		return missing(ctx, o.api, o.target)
	case err != nil:
		return err
	}
	if !o.out.isText() {
		object, err := answer("Recall", recallObject(&r))
		if err != nil {
			return err
		}
		return o.out.object(object, o.Streams.Out)
	}
	if len(r.Loans) > 0 {
		rows := make([]view.Ending, len(r.Loans))
		for i, l := range r.Loans {
			rows[i] = view.Ending{
				Loan: l.Loan, Job: l.Job, Borrower: l.Borrower, Units: l.Units, Part: l.Part,
				Grace: seconds(l.GraceSeconds), LostWork: l.LostWorkSeconds, By: l.By,
			}
		}
		if err := o.out.table(view.Endings(rows, o.Clock.Now()), nil, o.Streams.Out); err != nil {
			return err
		}
	}
	o.note("%s", recallSentence(&r))
	return nil
}

// recallObject is the answer with a name, as objects have.
func recallObject(r *access.Recalled) any {
	ns, name := splitKey(r.Lender)
	return struct {
		Metadata map[string]any `json:"metadata"`
		*access.Recalled
	}{map[string]any{"name": name, "namespace": ns}, r}
}

// recallSentence sums up what would be.
func recallSentence(r *access.Recalled) string {
	text := fmt.Sprintf("Dry run: to keep %d of the %s of %s, ", r.Keep, counted(r.Owned, "unit"), r.Lender)
	switch n := int64(len(r.Loans)) + r.Others; {
	case n == 0:
		text += "no loan would end"
	default:
		text += fmt.Sprintf("%s would end or give units back", counted(n, "loan"))
		if r.Others > 0 {
			text += fmt.Sprintf(" (%d of them you may not see)", r.Others)
		}
		text += fmt.Sprintf("; %s would come back", counted(r.Units, "unit"))
		if !r.By.IsZero() {
			text += ", the last by " + clockTime(r.By)
		}
	}
	if r.Leaving > 0 {
		text += fmt.Sprintf("; %d are on their way already", r.Leaving)
	}
	if r.Short > 0 {
		text += fmt.Sprintf("; %d would still be missing, of loans that cannot be asked now", r.Short)
	}
	return text + "."
}
