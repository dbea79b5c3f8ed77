package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/view"
)

type loansOptions struct{ listing }

func newLoansCommand(s *session) *cobra.Command {
	o := &loansOptions{newListing(s)}
	cmd := &cobra.Command{
		Use:     "loans [LOAN]",
		Aliases: []string{"loan"},
		Short:   "Show who holds which units, from whom, and for how long yet",
		Long: `Show who holds which units, from whom, and for how long yet.

A Loan is one admitted job's use of units. LENDER is the LendingPolicy that lent
them, cohort:NAME for quota that nobody in the cohort uses, and <none> where all
are the borrower's own. GRACE is how long the job's pods may take to stop once
the units are asked back: their own grace, or what the lenders allow if that is
less ("<=" and the latter, if you may not read the job); while the units are asked
back (STATE Reclaiming), what is left of it.`,
		Example: `  # The loans of the namespace
  kubectl ebbtide loans -n research

  # All loans, with every node and lender
  kubectl ebbtide loans -A -o wide`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFirst(s, completeLoans),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(args, "loan"); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.addFlags(cmd, "Loans")
	return cmd
}

func (o *loansOptions) run(ctx context.Context) error {
	list, err := o.loans(ctx)
	if err != nil {
		return err
	}
	if printed, err := o.out.found(list, o.name != "", o.Streams.Out); printed {
		return err
	}
	if len(list.Items) == 0 {
		o.note("No loans found%s.", inNamespace(o.ns, o.allNamespaces))
		return nil
	}
	return o.table(ctx, list.Items)
}

// loans are those that were asked for.
func (o *loansOptions) loans(ctx context.Context) (*v1alpha1.LoanList, error) {
	if o.name == "" {
		return listLoans(ctx, o.api, o.ns, o.allNamespaces)
	}
	loan, err := getLoan(ctx, o.api, o.ns, o.name)
	if err != nil {
		return nil, err
	}
	return &v1alpha1.LoanList{Items: []v1alpha1.Loan{*loan}}, nil
}

func (o *loansOptions) table(ctx context.Context, loans []v1alpha1.Loan) error {
	rows := make([]view.Loan, len(loans))
	var namespaces []string
	own := o.graces(ctx)
	for i := range loans {
		rows[i] = viewLoan(&loans[i])
		rows[i].Grace = own(&loans[i])
		if o.allNamespaces {
			namespaces = append(namespaces, loans[i].Namespace)
		}
	}
	return o.out.table(view.Loans(rows, o.Clock.Now(), o.out.wide()), namespaces, o.Streams.Out)
}

// graces are what jobs' pods may take to stop by themselves; nil of a job that may not be read,
// or is gone.
func (o *loansOptions) graces(ctx context.Context) (of func(*v1alpha1.Loan) *time.Duration) {
	type group struct{ namespace, name string }
	byUID, byGroup := map[types.UID]*time.Duration{}, map[group]*time.Duration{}
	list, _, err := listJobs(ctx, o.api, o.ns, o.allNamespaces)
	if err != nil && !apierrors.IsForbidden(err) {
		o.note("note: %v", err)
	}
	for i := range list {
		grace := list[i].Grace()
		byUID[list[i].UID] = &grace
		byGroup[group{list[i].Key.Namespace, list[i].PodGroup}] = &grace
	}
	return func(l *v1alpha1.Loan) *time.Duration {
		if grace := byUID[l.Spec.Job.UID]; grace != nil || l.Spec.Job.PodGroup == "" {
			return grace
		}
		return byGroup[group{l.Namespace, l.Spec.Job.PodGroup}]
	}
}

// listLoans are the loans of a namespace, or of all, oldest first within each.
func listLoans(ctx context.Context, api client.Reader, ns string, everywhere bool) (*v1alpha1.LoanList, error) {
	list := &v1alpha1.LoanList{}
	if err := api.List(ctx, list, scope(ns, everywhere)...); err != nil {
		return nil, fmt.Errorf("list loans: %w", err)
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.Loan) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	// A typed client strips what says the kind.
	for i := range list.Items {
		list.Items[i].SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Loan"))
	}
	return list, nil
}

func getLoan(ctx context.Context, api client.Reader, ns, name string) (*v1alpha1.Loan, error) {
	loan := &v1alpha1.Loan{}
	err := api.Get(ctx, client.ObjectKey{Namespace: ns, Name: name}, loan)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("loan %q not found in namespace %q", name, ns)
	}
	if err != nil {
		return nil, fmt.Errorf("read loan %s/%s: %w", ns, name, err)
	}
	return loan, nil
}

func viewLoan(l *v1alpha1.Loan) view.Loan {
	v := view.Loan{
		Name: l.Name, Job: l.Spec.Job.Name, Borrower: l.Spec.Borrower, Queue: l.Spec.Queue,
		Conditions: viewConditions(l.Status.Conditions),
		MaxGrace:   l.Spec.MaxGrace.Duration,
		Created:    l.CreationTimestamp.Time,
	}
	if l.Status.ReclaimBy != nil {
		v.ReclaimBy = l.Status.ReclaimBy.Time
	}
	for _, g := range l.Held() {
		v.Units += g.Count
		v.Nodes = append(v.Nodes, g.Node)
		v.Lenders = append(v.Lenders, g.Lender)
	}
	return v
}

func viewConditions(conditions []metav1.Condition) []view.Condition {
	out := make([]view.Condition, len(conditions))
	for i, c := range conditions {
		out[i] = view.Condition{Type: c.Type, True: c.Status == metav1.ConditionTrue, Reason: c.Reason}
	}
	return out
}
