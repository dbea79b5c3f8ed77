package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/internal/cli/doctor"
)

func newDoctorCommand(s *session) *cobra.Command {
	out := newOutput()
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps Ebbtide from working in this cluster, and say how to mend it",
		Long: `Look for what keeps Ebbtide from working in this cluster, and say how to mend it.

Each check is "ok", "warn" (it works, and somebody should look at it), "fail", or
"unknown" (it could not be looked at). Nothing is changed, and no broker is needed;
an administrator sees most. Exit code 1: a check failed.`,
		Example: `  kubectl ebbtide doctor

  # In a script: what is not ok?
  kubectl ebbtide doctor -o jsonpath='{range .items[?(@.status!="ok")]}{.metadata.name}: {.found}{"\n"}{end}'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.validate(); err != nil {
				return err
			}
			return examine(cmd.Context(), s, out)
		},
	}
	out.addFlags(cmd)
	return cmd
}

func examine(ctx context.Context, s *session, out *output) error {
	config, err := s.config.ToRESTConfig()
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	broker, err := s.broker()
	if err != nil {
		return err
	}
	cluster, err := doctor.New(config, broker, s.Clock)
	if err != nil {
		return err
	}
	done := s.working("looking at the cluster")
	findings := cluster.Examine(ctx)
	done()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("look at the cluster: %w", err)
	}
	if out.isText() {
		err = printFindings(s, findings)
	} else {
		err = findingsObject(s, out, findings)
	}
	if err == nil && doctor.Failed(findings) {
		err = errors.New("something keeps Ebbtide from working; it says above what, and how to mend it")
	}
	return err
}

// printFindings has a line for each check, and one below for what is to be done.
func printFindings(s *session, findings []doctor.Finding) error {
	counts := map[doctor.Status]int{}
	paint := s.palette()
	for _, f := range findings {
		counts[f.Status]++
		status := fmt.Sprintf("%-7s", f.Status)
		switch f.Status {
		case doctor.OK:
			status = paint.Good(status)
		case doctor.Fail:
			status = paint.Bad(status)
		default:
			status = paint.Warn(status)
		}
		if _, err := fmt.Fprintf(s.Streams.Out, "%s  %-18s  %s\n", status, f.Name, f.Found); err != nil {
			return fmt.Errorf("print a finding: %w", err)
		}
		if f.Mend == "" {
			continue
		}
		if _, err := fmt.Fprintf(s.Streams.Out, "%9sto mend it: %s\n", "", f.Mend); err != nil {
			return fmt.Errorf("print a finding: %w", err)
		}
	}
	_, err := fmt.Fprintf(s.Streams.Out, "\n%d ok, %d warn, %d fail, %d unknown\n",
		counts[doctor.OK], counts[doctor.Warn], counts[doctor.Fail], counts[doctor.Unknown])
	return err
}

func findingsObject(s *session, out *output, findings []doctor.Finding) error {
	items := make([]any, len(findings))
	for i, f := range findings {
		item := map[string]any{
			"apiVersion": answersVersion, "kind": "Check", "metadata": map[string]any{"name": f.Name},
			"status": f.Status, "found": f.Found,
		}
		if f.Mend != "" {
			item["mend"] = f.Mend
		}
		items[i] = item
	}
	return out.answers("Check", items, map[string]any{"failed": doctor.Failed(findings)}, s.Streams.Out)
}
