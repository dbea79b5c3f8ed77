package cli

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/view"
)

// job: the object says whether it waits at all, the verdict why.
func (o *explainOptions) job(ctx context.Context) (explanation, error) {
	job, err := o.find(ctx)
	if err != nil {
		return explanation{}, err
	}
	e := explanation{Answer: view.Answer{Subject: job.Kind.Kind + " " + o.key.String()}, source: fromAPIServer}
	if job.Queue == "" {
		e.State = fmt.Sprintf("is in no queue: it has no label %s", v1alpha1.LabelQueue)
		e.settled = true
		return e, nil
	}
	if job.Finished {
		end, err := ending(ctx, o.api, &job)
		if err != nil {
			return explanation{}, err
		}
		e.settled = true
		e.State, e.Message, e.Reason, e.Since = "has ended as "+end.Type, end.Message, end.Reason, end.LastTransitionTime.Time
		return e, nil
	}
	loans, err := listLoans(ctx, o.api, o.key.Namespace, false)
	if err != nil {
		return explanation{}, err
	}
	if loan := openLoan(loans.Items, &job); loan != nil {
		return o.admitted(ctx, e, loan)
	}
	return o.waiting(ctx, e, &job)
}

// find looks for the job of that name.
func (o *explainOptions) find(ctx context.Context) (jobs.Job, error) {
	job, hidden, err := findJob(ctx, o.api, o.jobKind, o.key)
	if !apierrors.IsNotFound(err) {
		return job, err
	}
	o.noteHidden(hidden)
	word := "job"
	if !o.jobKind.Empty() {
		word = strings.ToLower(o.jobKind.Kind)
	}
	return jobs.Job{}, fmt.Errorf("%s %q not found in namespace %q", word, o.key.Name, o.key.Namespace)
}

// waiting explains a job that has no loan.
func (o *explainOptions) waiting(ctx context.Context, e explanation, job *jobs.Job) (explanation, error) {
	e.State = "waits in queue " + job.Queue
	said, err := o.verdict(ctx, lend.SubjectJob, job.Key.Name, string(job.UID))
	switch {
	case err != nil:
		return explanation{}, err
	case said != nil:
		e.Message, e.Reason, e.Since, e.source = said.Message, said.Reason, said.Since, fromBroker
		e.State += o.position(ctx, string(job.UID))
		e.grounds = o.grounds(ctx, job)
	default:
		err = o.fromEvents(ctx, &e, job.Kind.Kind)
	}
	return e, err
}

// position is where the job stands in its queue, and when it is likely to start.
// Without it the answer is as true, so that it cannot be had is no error.
func (o *explainOptions) position(ctx context.Context, uid string) string {
	j, err := o.ask.Place(ctx, o.key.String(), uid)
	switch {
	case err != nil || j.Position <= 0:
		return ""
	case j.EstimatedStart.IsZero():
		return fmt.Sprintf(" at position %d", j.Position)
	}
	return fmt.Sprintf(" at position %d and starts in about %s", j.Position, view.Span(j.EstimatedStart.Sub(o.Clock.Now())))
}

// admitted explains a job that has a loan.
func (o *explainOptions) admitted(ctx context.Context, e explanation, loan *v1alpha1.Loan) (explanation, error) {
	of, err := o.explainLoan(ctx, loan)
	if err != nil {
		return explanation{}, err
	}
	subject := e.Subject
	e = of
	e.Subject, e.settled = subject, true
	e.State = fmt.Sprintf("holds %s on loan %s, which %s", units(loan), loan.Name, of.State)
	return e, nil
}

func (o *explainOptions) loan(ctx context.Context) (explanation, error) {
	loan, err := getLoan(ctx, o.api, o.key.Namespace, o.key.Name)
	if err != nil {
		return explanation{}, err
	}
	e, err := o.explainLoan(ctx, loan)
	if err != nil {
		return explanation{}, err
	}
	e.State = fmt.Sprintf("of %s %s", units(loan), e.State)
	return e, nil
}

func (o *explainOptions) explainLoan(ctx context.Context, loan *v1alpha1.Loan) (explanation, error) {
	state, by := view.LoanState(viewConditions(loan.Status.Conditions))
	e := explanation{Answer: view.Answer{
		Subject: "Loan " + loan.Namespace + "/" + loan.Name, State: stateInWords(state), Reason: by.Reason,
	}, source: fromAPIServer}
	if state == view.StateReclaiming && loan.Status.ReclaimBy != nil {
		e.State += fmt.Sprintf(" with %s of its grace left", view.Span(loan.Status.ReclaimBy.Sub(o.Clock.Now())))
	}
	if c := meta.FindStatusCondition(loan.Status.Conditions, by.Type); c != nil {
		e.Message, e.Since = c.Message, c.LastTransitionTime.Time
	}
	if state == view.StateReturned {
		return e, nil
	}
	said, err := o.verdict(ctx, lend.SubjectLoan, loan.Name, "")
	// A verdict that only repeats the state says less than the condition, which
	// has the reason why the loan came into it.
	if err == nil && said != nil && said.Reason != state {
		e.Message, e.Reason, e.Since, e.source = said.Message, said.Reason, said.Since, fromBroker
	}
	return e, err
}

func stateInWords(state string) string {
	switch state {
	case view.StateReclaiming:
		return "is being reclaimed"
	case view.StateReturned:
		return "has been returned"
	}
	return "is " + strings.ToLower(state)
}

func units(loan *v1alpha1.Loan) string {
	n := int64(0)
	for _, g := range loan.Held() {
		n += g.Count
	}
	if n == 1 {
		return "1 unit"
	}
	return fmt.Sprintf("%d units", n)
}

func (o *explainOptions) lender(ctx context.Context) (explanation, error) {
	policy := &v1alpha1.LendingPolicy{}
	err := o.api.Get(ctx, o.key, policy)
	switch t := (target{kindLender, o.key}); {
	case apierrors.IsNotFound(err):
		return explanation{}, missing(ctx, o.api, t)
	case err != nil:
		return explanation{}, noRight(err, "get", t)
	}
	s := policy.Status
	e := explanation{source: fromAPIServer, Answer: view.Answer{
		Subject: "LendingPolicy " + o.key.String(),
		State:   fmt.Sprintf("owns %d units, holds %d, needs %d and keeps %d warm", s.Owned, s.Held, s.Need, s.Headroom),
	}}
	if len(s.Conditions) == 0 {
		e.State = "has not been looked at by the broker yet"
	}
	e.State += o.reshaped(ctx)
	said, err := o.verdict(ctx, lend.SubjectLender, o.key.Name, "")
	if err != nil {
		return explanation{}, err
	}
	if said != nil {
		e.Message, e.Reason, e.Since, e.source = said.Message, said.Reason, said.Since, fromBroker
		e.grounds = o.lending(ctx)
		return e, nil
	}
	for _, kind := range []string{v1alpha1.ConditionAccepted, v1alpha1.ConditionLending} {
		c := meta.FindStatusCondition(s.Conditions, kind)
		if c == nil || (kind == v1alpha1.ConditionAccepted && c.Status == "True") {
			continue
		}
		e.Message, e.Reason, e.Since = c.Message, c.Reason, c.LastTransitionTime.Time
		break
	}
	return e, nil
}

// reshaped says which of a lender's slices are made into others. Whoever may not read
// GPUNodes is told the rest.
func (o *explainOptions) reshaped(ctx context.Context) string {
	nodes, err := listGPUNodes(ctx, o.api, "")
	if err != nil {
		return ""
	}
	slices := map[[2]string]int{} // by what they are and what they are made into
	var order [][2]string
	for i := range nodes.Items {
		for _, r := range nodes.Items[i].Spec.Reshapes {
			if r.Lender != o.key.String() {
				continue
			}
			kind := [2]string{r.From, r.To}
			if slices[kind] == 0 {
				order = append(order, kind)
			}
			slices[kind] += len(r.Destroy)
		}
	}
	text := ""
	for _, kind := range order {
		text += fmt.Sprintf("; %d of %s are made into %s", slices[kind], kind[0], kind[1])
	}
	return text
}
