package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/internal/cli/export"
	"github.com/ebbtide/ebbtide/broker/internal/cli/rehearse"
	"github.com/ebbtide/ebbtide/broker/internal/cli/report"
)

type simulateOptions struct {
	rehearsal
	policies []string
	report   string
}

func newSimulateCommand(s *session) *cobra.Command {
	o := &simulateOptions{rehearsal: rehearsal{session: s, out: newOutput("table", "wide")}}
	cmd := &cobra.Command{
		Use:   "simulate (--load FILE --jobs FILE --nodes FILE | --from-prometheus URL)",
		Short: "Play your cluster's past again: what would have been gained, and would anyone have waited?",
		Long: `Play your cluster's past again: what would have been gained, and would anyone have waited?

All policies play the same load, jobs and nodes. "ebbtide" is what the broker itself decides by,
no-lending the same without loans, and oracle knows the load that is to come. What the inputs do
not say is assumed, and told on standard error and in the report. Nothing is changed, and with
--load, --jobs and --nodes no cluster is needed.`,
		Example: `  # A recorded week on 70 nodes with 8 GPUs each
  kubectl ebbtide simulate --load week.csv --jobs jobs.csv --nodes 70x8

  # With your own rules, against an oracle, and with a report to show around
  kubectl ebbtide simulate --load chat=chat.csv,code=code.csv --jobs jobs.csv --nodes nodes.csv \
    --config policies.yaml --policy ebbtide,no-lending,oracle --report report.html

  # What would we have gained last week?
  kubectl ebbtide simulate --from-prometheus http://localhost:9090 --last 7d`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := rehearse.CheckPolicies(o.policies); err != nil {
				return err
			}
			if err := o.checkReport(); err != nil {
				return err
			}
			if err := o.complete(cmd.Context()); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.addFlags(cmd)
	cmd.Flags().StringSliceVar(&o.policies, "policy", []string{rehearse.Ebbtide, rehearse.NoLending},
		"Policies to play, of "+strings.Join(rehearse.Policies(), ", "))
	cmd.Flags().StringVar(&o.report, "report", "", "Write a report with figures to this HTML file")
	_ = cmd.MarkFlagFilename("report", "html") // fails only for a flag that is not there
	_ = cmd.RegisterFlagCompletionFunc("policy", completeList(rehearse.Policies))
	return cmd
}

// checkReport finds out before anything is played whether the report can be written.
func (o *simulateOptions) checkReport() error {
	if o.report == "" {
		return nil
	}
	if err := export.CheckFile(o.report); err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	return nil
}

// completeList completes the last of names that are separated by commas.
func completeList(all func() []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		before := ""
		if i := strings.LastIndexByte(typed, ','); i >= 0 {
			before = typed[:i+1]
		}
		var names []string
		for _, name := range all() {
			if !slices.Contains(strings.Split(before, ","), name) {
				names = append(names, before+name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// points of a result's series: one for half an hour of a week.
const points = 336

func (o *simulateOptions) run(ctx context.Context) error {
	if o.report != "" || !o.out.isText() {
		o.in.Points = points
	}
	stage, err := rehearse.Prepare(ctx, o.in)
	if err != nil {
		return err
	}
	var runs []rehearse.Run
	for _, name := range o.policies {
		runs = append(runs, rehearse.Run{Stage: stage, Policy: name})
	}
	reports, err := o.play(ctx, runs)
	if err != nil {
		return err
	}
	if o.report != "" {
		err := export.File(o.report, func(w io.Writer) error { return report.Write(w, reports[0]) })
		if err != nil {
			return fmt.Errorf("--report: %w", err)
		}
		defer o.note("report: %s", o.report)
	}
	return o.print(reports[0])
}

func (o *simulateOptions) print(r *rehearse.Report) error {
	if !o.out.isText() {
		object, err := answer("Simulation", r)
		if err != nil {
			return err
		}
		return o.out.object(object, o.Streams.Out)
	}
	o.note("%s", r.Input.Describe())
	o.notes(r.Assumptions, r.Missing)
	if _, err := fmt.Fprintf(o.Streams.Out, "%s\n\n", r.Answer); err != nil {
		return err
	}
	return o.out.table(r.Table(), nil, o.Streams.Out)
}
