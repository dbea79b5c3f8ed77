package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/view"
)

// Where an explanation comes from.
const (
	fromBroker    = "Broker"
	fromAPIServer = "APIServer"
)

// kindsByName are the words for what explain can explain beside jobs.
var kindsByName = map[string]lend.SubjectKind{
	"lendingpolicy": lend.SubjectLender, "lendingpolicies": lend.SubjectLender, "lp": lend.SubjectLender,
	"lendingpolicy.ebbtide.dev": lend.SubjectLender, "lendingpolicies.ebbtide.dev": lend.SubjectLender,
	"loan": lend.SubjectLoan, "loans": lend.SubjectLoan, "ln": lend.SubjectLoan,
	"loan.ebbtide.dev": lend.SubjectLoan, "loans.ebbtide.dev": lend.SubjectLoan,
}

type explainOptions struct {
	*session
	out *output

	kind lend.SubjectKind
	// jobKind is that of the job; empty for any.
	jobKind schema.GroupVersionKind
	key     client.ObjectKey
	api     client.Reader
	ask     *access.Broker
}

// explanation is an answer and where it comes from.
type explanation struct {
	view.Answer
	source string
}

func newExplainCommand(s *session) *cobra.Command {
	o := &explainOptions{session: s, out: newOutput()}
	cmd := &cobra.Command{
		Use:   "explain (JOB | KIND/JOB | loan/NAME | lendingpolicy/NAME)",
		Short: "Say in one sentence why a job waits, or what a lender or a loan does",
		Long: `Say in one sentence why a job waits, or what a lender or a loan does.

The answer is the broker's last verdict. When the broker cannot be reached, the
answer is what the objects and events in the API server say, and a note on
standard error tells so. A job's name alone means the batch/v1 Job of that name, or
else the job of another kind; rayjob/NAME and the like say which.`,
		Example: `  # Why does my job wait?
  kubectl ebbtide explain bert-large -n research

  # The same for a job of another kind
  kubectl ebbtide explain rayjob/train -n research

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
			if o.jobKind, ok = jobKindBy(kind); !ok {
				return fmt.Errorf("cannot explain %q: only jobs of any kind, loan and lendingpolicy can be explained (for another namespace, use -n)", kind)
			}
			known = lend.SubjectJob
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

// verdict is nil, with a note, if the broker cannot be reached, refuses, or has nothing to
// say about the subject yet.
func (o *explainOptions) verdict(ctx context.Context, kind lend.SubjectKind, name, uid string) (*access.Verdict, error) {
	v, err := o.ask.Verdict(ctx, kind, o.key.Namespace+"/"+name, uid)
	switch {
	case err == nil:
		return &v, nil
	case errors.Is(err, access.ErrUnreachable), errors.Is(err, access.ErrRefused):
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
