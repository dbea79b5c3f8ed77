package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/view"
)

// Where an explanation comes from.
const (
	fromBroker    = "Broker"
	fromAPIServer = "APIServer"
)

// kindsByName are the words for what explain can explain.
var kindsByName = map[string]lend.SubjectKind{
	"job": lend.SubjectJob, "jobs": lend.SubjectJob, "job.batch": lend.SubjectJob, "jobs.batch": lend.SubjectJob,
	"lendingpolicy": lend.SubjectLender, "lendingpolicies": lend.SubjectLender, "lp": lend.SubjectLender,
	"lendingpolicy.ebbtide.dev": lend.SubjectLender, "lendingpolicies.ebbtide.dev": lend.SubjectLender,
	"loan": lend.SubjectLoan, "loans": lend.SubjectLoan, "ln": lend.SubjectLoan,
	"loan.ebbtide.dev": lend.SubjectLoan, "loans.ebbtide.dev": lend.SubjectLoan,
}

type explainOptions struct {
	*session
	out *output

	kind lend.SubjectKind
	key  client.ObjectKey
	api  client.Reader
	ask  *access.Broker
}

// explanation is an answer and where it comes from.
type explanation struct {
	view.Answer
	source string
}

func newExplainCommand(s *session) *cobra.Command {
	o := &explainOptions{session: s, out: newOutput()}
	cmd := &cobra.Command{
		Use:   "explain (JOB | loan/NAME | lendingpolicy/NAME)",
		Short: "Say in one sentence why a job waits, or what a lender or a loan does",
		Long: `Say in one sentence why a job waits, or what a lender or a loan does.

The answer is the broker's last verdict. When the broker cannot be reached, the
answer is what the objects and events in the API server say, and a note on
standard error tells so.`,
		Example: `  # Why does my job wait?
  kubectl ebbtide explain bert-large -n research

  # Why does this service lend nothing?
  kubectl ebbtide explain lendingpolicy/chat -n serving

  # Why is this loan taken back?
  kubectl ebbtide explain loan/bert-large-1 -n research`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("say what to explain: a job's name, loan/NAME or lendingpolicy/NAME")
			}
			return nil
		},
		ValidArgsFunction: completeFirst(s, completeJobs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(args[0]); err != nil {
				return err
			}
			if err := o.out.validate(); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.out.addFlags(cmd)
	return cmd
}

func (o *explainOptions) complete(subject string) (err error) {
	o.kind = lend.SubjectJob
	name := subject
	if kind, rest, found := strings.Cut(subject, "/"); found {
		known, ok := kindsByName[strings.ToLower(kind)]
		if !ok {
			return fmt.Errorf("cannot explain %q: only job, loan and lendingpolicy can be explained (for another namespace, use -n)", kind)
		}
		o.kind, name = known, rest
	}
	if name == "" || strings.Contains(name, "/") {
		return fmt.Errorf("%q names nothing: use a job's name, loan/NAME or lendingpolicy/NAME", subject)
	}
	o.key.Name = name
	if o.key.Namespace, _, err = o.namespace(); err != nil {
		return err
	}
	if o.api, err = o.cluster(); err != nil {
		return err
	}
	o.ask, err = o.broker()
	return err
}

func (o *explainOptions) run(ctx context.Context) error {
	var e explanation
	var err error
	switch o.kind {
	case lend.SubjectLender:
		e, err = o.lender(ctx)
	case lend.SubjectLoan:
		e, err = o.loan(ctx)
	default:
		e, err = o.job(ctx)
	}
	if err != nil {
		return err
	}
	return o.print(e)
}

// job: the object says whether it waits at all, the verdict why.
func (o *explainOptions) job(ctx context.Context) (explanation, error) {
	job := &batchv1.Job{}
	if err := o.get(ctx, "job", job); err != nil {
		return explanation{}, err
	}
	e := explanation{Answer: view.Answer{Subject: "Job " + o.key.String()}, source: fromAPIServer}
	queue := job.Labels[v1alpha1.LabelQueue]
	if queue == "" {
		e.State = fmt.Sprintf("is in no queue: it has no label %s", v1alpha1.LabelQueue)
		return e, nil
	}
	if end := finish(job); end != nil {
		e.State, e.Message, e.Reason, e.Since = "has ended as "+string(end.Type), end.Message, end.Reason, end.LastTransitionTime.Time
		return e, nil
	}
	loans, err := listLoans(ctx, o.api, o.key.Namespace, false)
	if err != nil {
		return explanation{}, err
	}
	if loan := openLoan(loans.Items, job); loan != nil {
		return o.admitted(ctx, e, loan)
	}
	e.State = "waits in queue " + queue
	said, err := o.verdict(ctx, lend.SubjectJob, o.key.Name)
	switch {
	case err != nil:
		return explanation{}, err
	case said != nil:
		e.Message, e.Reason, e.Since, e.source = said.Message, said.Reason, said.Since, fromBroker
		e.State += o.position(ctx)
	default:
		err = o.fromEvents(ctx, &e, "Job")
	}
	return e, err
}

// position is where the job stands in its queue. Without it the answer is as
// true, so that it cannot be had is no error.
func (o *explainOptions) position(ctx context.Context) string {
	waiting, err := o.ask.Queue(ctx)
	if err != nil {
		return ""
	}
	for _, j := range waiting {
		if j.Job == o.key.String() && j.Position > 0 {
			return fmt.Sprintf(" at position %d", j.Position)
		}
	}
	return ""
}

// admitted explains a job that has a loan.
func (o *explainOptions) admitted(ctx context.Context, e explanation, loan *v1alpha1.Loan) (explanation, error) {
	of, err := o.explainLoan(ctx, loan)
	if err != nil {
		return explanation{}, err
	}
	subject := e.Subject
	e = of
	e.Subject = subject
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
	said, err := o.verdict(ctx, lend.SubjectLoan, loan.Name)
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
	for _, g := range loan.Spec.Grants {
		n += g.Count
	}
	if n == 1 {
		return "1 unit"
	}
	return fmt.Sprintf("%d units", n)
}

func (o *explainOptions) lender(ctx context.Context) (explanation, error) {
	policy := &v1alpha1.LendingPolicy{}
	if err := o.get(ctx, "lendingpolicy", policy); err != nil {
		return explanation{}, err
	}
	s := policy.Status
	e := explanation{source: fromAPIServer, Answer: view.Answer{
		Subject: "LendingPolicy " + o.key.String(),
		State:   fmt.Sprintf("owns %d units, holds %d, needs %d and keeps %d warm", s.Owned, s.Held, s.Need, s.Headroom),
	}}
	if len(s.Conditions) == 0 {
		e.State = "has not been looked at by the broker yet"
	}
	said, err := o.verdict(ctx, lend.SubjectLender, o.key.Name)
	if err != nil {
		return explanation{}, err
	}
	if said != nil {
		e.Message, e.Reason, e.Since, e.source = said.Message, said.Reason, said.Since, fromBroker
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

// verdict is nil, with a note, if the broker cannot be reached or has nothing to
// say about the subject yet.
func (o *explainOptions) verdict(ctx context.Context, kind lend.SubjectKind, name string) (*access.Verdict, error) {
	v, err := o.ask.Verdict(ctx, kind, o.key.Namespace+"/"+name)
	switch {
	case err == nil:
		return &v, nil
	case errors.Is(err, access.ErrUnreachable):
		o.note("note: %v", err)
		o.note("note: this is what the API server's objects and events say")
		return nil, nil
	case errors.Is(err, access.ErrUnknownSubject):
		o.note("note: the broker has decided nothing about it yet")
		return nil, nil
	}
	return nil, err
}

// fromEvents takes the last event about the subject.
func (o *explainOptions) fromEvents(ctx context.Context, e *explanation, kind string) error {
	events, err := listEvents(ctx, o.api, client.InNamespace(o.key.Namespace),
		client.MatchingFields{"involvedObject.kind": kind, "involvedObject.name": o.key.Name})
	if err != nil {
		return err
	}
	e.Message = "no reason has been given yet"
	for _, event := range events {
		if event.InvolvedObject.Kind == kind && event.InvolvedObject.Name == o.key.Name {
			e.Message, e.Reason, e.Since = event.Message, event.Reason, eventTime(&event)
		}
	}
	return nil
}

func (o *explainOptions) get(ctx context.Context, kind string, into client.Object) error {
	err := o.api.Get(ctx, o.key, into)
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%s %q not found in namespace %q", kind, o.key.Name, o.key.Namespace)
	}
	if err != nil {
		return fmt.Errorf("read %s %s: %w", kind, o.key, err)
	}
	return nil
}

func (o *explainOptions) print(e explanation) error {
	sentence := e.Sentence(o.Clock.Now())
	if o.out.isText() {
		_, err := fmt.Fprintln(o.Streams.Out, sentence)
		return err
	}
	value := map[string]any{
		"metadata": map[string]any{"name": o.key.Name, "namespace": o.key.Namespace},
		"subject":  o.kind, "state": e.State, "reason": e.Reason, "message": e.Message,
		"sentence": sentence, "source": e.source,
	}
	if !e.Since.IsZero() {
		value["since"] = e.Since.UTC().Format(time.RFC3339)
	}
	object, err := answer("Explanation", value)
	if err != nil {
		return err
	}
	return o.out.object(object, o.Streams.Out)
}
