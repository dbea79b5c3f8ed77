package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/lend"
)

func newWhenCommand(s *session) *cobra.Command {
	out := newOutput()
	cmd := &cobra.Command{
		Use:   "when (JOB | KIND/JOB)",
		Short: "Say between when and when a waiting job is likely to start",
		Long: `Say between when and when a waiting job is likely to start.

The interval is from how units came free in the last hour, day and week: of the times
that it would have taken then, one in five is before it and one in five after it. It is
not said where too few came free to judge by, or where the job waits for something else.`,
		Example:           `  kubectl ebbtide when bert-large -n research`,
		Args:              exactlyOne("say which job: its name, or KIND/NAME"),
		ValidArgsFunction: completeFirst(s, completeJobs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.validate(); err != nil {
				return err
			}
			return sayWhen(cmd.Context(), s, out, args[0])
		},
	}
	out.addFlags(cmd)
	return cmd
}

func sayWhen(ctx context.Context, s *session, out *output, arg string) error {
	t, err := s.named(arg)
	if err != nil {
		return err
	}
	job, err := s.jobOf(ctx, t)
	if err != nil {
		return err
	}
	broker, err := s.broker()
	if err != nil {
		return err
	}
	done := s.working("asking the broker")
	c, err := broker.Counterfactual(ctx, job.Key.String(), string(job.UID))
	done()
	if errors.Is(err, access.ErrUnknownSubject) {
		// It does not wait, or the broker does not know it yet: say what it does.
		o := &explainOptions{session: s, out: out, kind: lend.SubjectJob, jobKind: job.Kind, key: job.Key, ask: broker}
		if o.api, err = s.cluster(); err != nil {
			return err
		}
		return o.run(ctx)
	}
	if err != nil {
		return err
	}
	subject := job.Kind.Kind + " " + job.Key.String()
	if out.isText() {
		text := subject + ": when it starts cannot be said: " + c.WhenUnknown
		if c.When != nil {
			text = fmt.Sprintf("%s is likely to start %s", subject, c.When.Message)
		}
		_, err := fmt.Fprintln(s.Streams.Out, text+".")
		return err
	}
	value := map[string]any{"metadata": map[string]any{"name": job.Key.Name, "namespace": job.Key.Namespace}, "decidedAt": c.DecidedAt}
	if c.When != nil {
		value["when"] = c.When
	} else {
		value["whenUnknown"] = c.WhenUnknown
	}
	object, err := answer("When", value)
	if err != nil {
		return err
	}
	return out.object(object, s.Streams.Out)
}
