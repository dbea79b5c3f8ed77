package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/view"
)

type lendersOptions struct{ listing }

func newLendersCommand(s *session) *cobra.Command {
	o := &lendersOptions{newListing(s)}
	cmd := &cobra.Command{
		Use:     "lenders [LENDER]",
		Aliases: []string{"lender", "lendingpolicies", "lp"},
		Short:   "Show what services own, need, lend, and could lend",
		Long: `Show what services own, need, lend, and could lend.

HELD is what the service's own pods have, NEED what it must keep now, WARM what is kept
free above that. STATE is Lends, Holds (lends nothing new now), Paused, AskedBack (by
hand), Advises, or Refused; REASON is the last verdict, and "kubectl ebbtide explain
lender/NAME" says it in a sentence.`,
		Example: `  # The lenders of the namespace
  kubectl ebbtide lenders -n serving

  # All, with what set the need and since when their load is low
  kubectl ebbtide lenders -A -o wide`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFirst(s, completeLenders),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(args, "lender"); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.addFlags(cmd, "Lenders")
	return cmd
}

func (o *lendersOptions) run(ctx context.Context) error {
	policies, err := o.policies(ctx)
	if err != nil {
		return err
	}
	if printed, err := o.out.found(policies, o.name != "", o.Streams.Out); printed {
		return err
	}
	if len(policies.Items) == 0 {
		o.note("No lenders found%s.", inNamespace(o.ns, o.allNamespaces))
		return nil
	}
	said := o.said(ctx)
	rows := make([]view.Lender, len(policies.Items))
	var namespaces []string
	for i := range policies.Items {
		p := &policies.Items[i]
		rows[i] = o.row(p, said[p.Namespace+"/"+p.Name])
		if o.allNamespaces {
			namespaces = append(namespaces, p.Namespace)
		}
	}
	return o.out.table(view.Lenders(rows, o.Clock.Now()), namespaces, o.Streams.Out)
}

// policies are those that were asked for, by namespace and name.
func (o *lendersOptions) policies(ctx context.Context) (*v1alpha1.LendingPolicyList, error) {
	list := &v1alpha1.LendingPolicyList{}
	kind := v1alpha1.GroupVersion.WithKind("LendingPolicy")
	if o.name != "" {
		t, err := o.own(o.name, kindLender)
		if err != nil {
			return nil, err
		}
		var one v1alpha1.LendingPolicy
		err = o.api.Get(ctx, t.key, &one)
		if apierrors.IsNotFound(err) {
			return nil, missing(ctx, o.api, t)
		}
		if err != nil {
			return nil, noRight(err, "get", t)
		}
		one.SetGroupVersionKind(kind)
		list.Items = append(list.Items, one)
		return list, nil
	}
	if err := o.api.List(ctx, list, scope(o.ns, o.allNamespaces)...); err != nil {
		return nil, fmt.Errorf("list lenders: %w", err)
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.LendingPolicy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for i := range list.Items {
		list.Items[i].SetGroupVersionKind(kind)
	}
	return list, nil
}

// said is what only the broker knows, for the wide table: without it the rest is as true.
func (o *lendersOptions) said(ctx context.Context) map[string]*access.Lender {
	if !o.out.wide() {
		return nil
	}
	broker, err := o.broker()
	var rows []access.Lender
	if err == nil {
		done := o.working("asking the broker")
		rows, _, err = broker.Lenders(ctx)
		done()
	}
	if err != nil {
		o.note("note: %v", err)
	}
	said := map[string]*access.Lender{}
	for i := range rows {
		said[rows[i].Name] = &rows[i]
	}
	return said
}

func (o *lendersOptions) row(p *v1alpha1.LendingPolicy, said *access.Lender) view.Lender {
	s := &p.Status
	row := view.Lender{
		Name: p.Name, Flavor: p.Spec.Flavor, Owned: s.Owned, Held: s.Held, Need: s.Need, Warm: s.Headroom, Lent: s.Lent, Lendable: s.Lendable,
		Load: s.Load, Created: p.CreationTimestamp.Time,
	}
	row.State, row.Reason = o.state(p)
	if said != nil {
		row.Flavor, row.NeedBy, row.Low = said.Flavor, said.NeedBy, said.LowSince
	}
	return row
}

// state is what a lender does by its policy, and the verdict.
func (o *lendersOptions) state(p *v1alpha1.LendingPolicy) (state, reason string) {
	accepted := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionAccepted)
	if accepted == nil {
		return view.Unknown, view.Unknown
	}
	if accepted.Status != metav1.ConditionTrue {
		reason = accepted.Reason
	} else if lending := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionLending); lending != nil {
		reason = lending.Reason
	}
	l := lenderState{
		refused: accepted.Status != metav1.ConditionTrue, paused: p.Spec.Paused,
		// By the broker's configuration all only advise, whatever their mode.
		advises: p.Spec.Mode == v1alpha1.ModeAdvise || reason == lend.ReasonAdviseOnly, lendable: p.Status.Lendable,
	}
	if p.Spec.Recall != nil {
		l.recalled = p.Spec.Recall.Until.Time
	}
	return l.word(o.Clock.Now()), reason
}

// lenderState is what one has to know of a lender to say in a word what it does.
type lenderState struct {
	refused, paused, advises bool
	// recalled is until when units are asked back by hand; zero if they are not.
	recalled time.Time
	lendable int64
}

func (l *lenderState) word(now time.Time) string {
	switch {
	case l.refused:
		return "Refused"
	case l.recalled.After(now):
		return "AskedBack"
	case l.paused:
		return "Paused"
	case l.advises:
		return "Advises"
	case l.lendable > 0:
		return "Lends"
	}
	return "Holds"
}
