package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
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

// subjectsByKind are what explain can explain beside jobs.
var subjectsByKind = map[string]lend.SubjectKind{kindLender: lend.SubjectLender, kindLoan: lend.SubjectLoan}

// subjectNode is a node, of which there are no verdicts.
const subjectNode lend.SubjectKind = "Node"

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
	*grounds
	source string
	// settled: the job has units, or has ended, or does not wait for any.
	settled bool
}

func newExplainCommand(s *session) *cobra.Command {
	o := &explainOptions{session: s, out: newOutput()}
	cmd := &cobra.Command{
		Use:   "explain (JOB | KIND/JOB | pod/NAME | loan/NAME | lender/NAME | node/NAME)",
		Short: "Say why a job waits and what would admit it, or what a pod, lender, loan or node does",
		Long: `Say in one sentence why a job waits, or what a pod, a lender, a loan or a node does.

The answer is the broker's last verdict. Below it is what lies behind: of a waiting job
the chain of verdicts, the changes of which each alone would admit it now, and when it
would start as things are; of a node the loans on it. When the broker cannot be reached, the
answer is what the objects and events in the API server say, and a note on
standard error tells so. A job's name alone means the batch/v1 Job of that name, or
else the job of another kind; rayjob/NAME and the like say which.`,
		Example: `  # Why does my job wait?
  kubectl ebbtide explain bert-large -n research

  # The same for a job of another kind
  kubectl ebbtide explain rayjob/train -n research

  # Why does this service lend nothing?
  kubectl ebbtide explain lender/chat -n serving

  # Who has this node?
  kubectl ebbtide explain node/gpu-7

  # Why is this loan taken back?
  kubectl ebbtide explain loan/bert-large-1 -n research`,
		Args:              exactlyOne("say what to explain: a job's name, pod/NAME, loan/NAME, lender/NAME or node/NAME"),
		ValidArgsFunction: completeFirst(s, completeSubjects),
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
	t, err := o.named(subject)
	if err != nil {
		return err
	}
	o.key, o.kind = t.key, lend.SubjectJob
	own, known := subjectsByKind[ownKind(t.kind)]
	switch word := strings.ToLower(t.kind); {
	case t.kind == "":
	case known:
		o.kind = own
	case word == "node" || word == "nodes" || word == "no":
		o.kind = subjectNode
	default:
		if o.jobKind, known = jobKindBy(t.kind); !known {
			return fmt.Errorf("cannot explain %q: only jobs of any kind, pod, loan, lender and node can be explained (for another namespace, use -n)", t.kind)
		}
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
	done := o.working("asking")
	switch {
	case o.kind == lend.SubjectLender:
		e, err = o.lender(ctx)
	case o.kind == lend.SubjectLoan:
		e, err = o.loan(ctx)
	case o.kind == subjectNode:
		e, err = o.node(ctx)
	case o.jobKind == kindPod:
		e, err = o.pod(ctx)
	default:
		e, err = o.job(ctx)
	}
	done()
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

func (o *explainOptions) print(e explanation) error {
	sentence := e.Sentence(o.Clock.Now())
	if o.out.isText() {
		_, err := fmt.Fprint(o.Streams.Out, sentence+"\n"+e.text(o))
		return err
	}
	metadata := map[string]any{"name": o.key.Name}
	if o.kind != subjectNode {
		metadata["namespace"] = o.key.Namespace
	}
	value := map[string]any{
		"metadata": metadata,
		"subject":  o.kind, "state": e.State, "reason": e.Reason, "message": e.Message,
		"sentence": sentence, "source": e.source,
	}
	if !e.Since.IsZero() {
		value["since"] = e.Since.UTC().Format(time.RFC3339)
	}
	e.fields(value)
	object, err := answer("Explanation", value)
	if err != nil {
		return err
	}
	return o.out.object(object, o.Streams.Out)
}
