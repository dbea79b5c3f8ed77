package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/internal/cli/rehearse"
)

type whatifOptions struct {
	rehearsal
	changes []string
}

func newWhatifCommand(s *session) *cobra.Command {
	o := &whatifOptions{rehearsal: rehearsal{session: s, out: newOutput("table")}}
	cmd := &cobra.Command{
		Use:   "whatif -f CHANGE",
		Short: "Play your cluster's past with other quotas, water marks or headroom, and compare",
		Long: `Play your cluster's past with other quotas, water marks or headroom, and compare.

The same load, jobs and nodes are played twice: with the rules as they are, and with the objects
of CHANGE in the place of those of the same names. The rules as they are are those of --config, or
else of the cluster. Nothing is changed.`,
		Example: `  # What if chat lent from a load of 45% on, instead of 30%?
  kubectl ebbtide whatif -f chat-lends-earlier.yaml --from-prometheus http://localhost:9090

  # The same without a cluster
  kubectl ebbtide whatif -f chat-lends-earlier.yaml --config policies.yaml \
    --load chat.csv --jobs jobs.csv --nodes 70x8`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(o.changes) == 0 {
				return errors.New("--filename: must be given: a file with the changed objects")
			}
			o.needsRules = true
			if err := o.complete(cmd.Context()); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.addFlags(cmd)
	cmd.Flags().StringSliceVarP(&o.changes, "filename", "f", nil, "File with changed LendingPolicies, TenantQuotas and the like; several may be given")
	_ = cmd.MarkFlagFilename("filename", "yaml", "yml", "json") // fails only for a flag that is not there
	return cmd
}

func (o *whatifOptions) run(ctx context.Context) error {
	changed, changes, err := o.change()
	if err != nil {
		return err
	}
	now, err := rehearse.Prepare(ctx, o.in)
	if err != nil {
		return err
	}
	in := o.in
	in.Rules, in.Like = changed, now
	then, err := rehearse.Prepare(ctx, in)
	if err != nil {
		return fmt.Errorf("with the change: %w", err)
	}
	reports, err := o.play(ctx, []rehearse.Run{{Stage: now, Policy: rehearse.Ebbtide}, {Stage: then, Policy: rehearse.Ebbtide}})
	if err != nil {
		return err
	}
	return o.print(rehearse.NewComparison(reports[0], reports[1], changes))
}

// change is the rules as they would be, and in what they differ: the files come one after
// the other, as if each were applied.
func (o *whatifOptions) change() (rules *rehearse.Objects, changes []rehearse.Change, err error) {
	rules = o.in.Rules
	for _, file := range o.changes {
		objects, err := readObjects(file)
		if err != nil {
			return nil, nil, fmt.Errorf("--filename: %w", err)
		}
		more, err := rules.Changes(objects)
		if err != nil {
			return nil, nil, fmt.Errorf("--filename: %s: %w", file, err)
		}
		rules, changes = rules.With(objects), append(changes, more...)
	}
	if len(changes) == 0 {
		return nil, nil, errors.New("--filename: changes nothing that is played")
	}
	return rules, changes, nil
}

func (o *whatifOptions) print(c *rehearse.Comparison) error {
	if !o.out.isText() {
		object, err := answer("Comparison", c)
		if err != nil {
			return err
		}
		return o.out.object(object, o.Streams.Out)
	}
	o.note("%s", c.Input.Describe())
	o.notes(c.Assumptions, c.Missing)
	for i := range c.Changes {
		o.note("changed: %s", c.Changes[i].String())
	}
	if _, err := fmt.Fprintf(o.Streams.Out, "%s\n\n", c.Answer); err != nil {
		return err
	}
	return o.out.table(c.Table(), nil, o.Streams.Out)
}
