package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/mig/agent/doctor"
	"github.com/ebbtide/ebbtide/mig/agent/journal"
	"github.com/ebbtide/ebbtide/mig/agent/kube"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/nvml"
)

func newProbeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "probe",
		Short: "Read all that the node's driver says of its GPUs, change nothing, and print it as JSON",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			gpus, err := nvml.Open()
			if err != nil {
				return err
			}
			reading, err := gpus.Probe(cmd.Context())
			if err = errors.Join(err, gpus.Close()); err != nil {
				return fmt.Errorf("read the GPUs: %w", err)
			}
			return printJSON(cmd.OutOrStdout(), reading)
		},
	}
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func newAdoptCommand() *cobra.Command {
	var stateDir string
	cmd := &cobra.Command{
		Use:   "adopt",
		Short: "Have the agent that runs on this node take all slices for its own that are there now",
		Long: `Have the agent that runs on this node take all slices for its own that are there now.

The agent leaves alone what it did not make and did not find at its first start. This is
for GPUs that an administrator has cut by hand since.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := journal.AskToAdopt(stateDir); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "the agent was asked; the GPUNode shows what it has adopted")
			return nil
		},
	}
	cmd.Flags().StringVar(&stateDir, "state-dir", stateFolder, "folder of the agent's journal")
	return cmd
}

// doctorOptions are the flags of the command doctor, which the agent has too.
type doctorOptions struct {
	root, config string
	accepted     []string
}

func (o *doctorOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.root, "host-root", "/", "where the node's file system is")
	f.StringVar(&o.config, "runtime-config", "", "NVIDIA's container runtime's config.toml, as the node sees it; absent: where its packages and its operator have it")
	f.StringSliceVar(&o.accepted, "accept-check", nil, "lend on the node although this check of doctor's is not passed; may be given several times")
}

func (o *doctorOptions) check() error {
	if err := doctor.CheckNames(o.accepted); err != nil {
		return fmt.Errorf("--accept-check: %w", err)
	}
	return nil
}

func (o *doctorOptions) host(driver device.Describer, node *kube.Node) doctor.Host {
	host := doctor.Host{Root: o.root, Config: o.config, Describer: driver}
	if node != nil {
		host.Policies = node.Refuses
	}
	return host
}

// reportAge is how long a report counts: what it is about changes with updates of the
// node.
const reportAge = 10 * time.Minute

func (o *doctorOptions) examiner(driver device.Describer, node *kube.Node) *doctor.Examiner {
	return &doctor.Examiner{Node: o.host(driver, node), Accepted: o.accepted, Every: reportAge, Clock: clock.RealClock{}}
}

func newDoctorCommand() *cobra.Command {
	o := doctorOptions{}
	var kubeconfig, node, output string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine whether the node keeps pods from GPUs that they were not given",
		Long: `Examine whether the node keeps pods from GPUs that they were not given.

The broker lends nothing on a node that fails a check, or of which a check could not be
made. The exit status is 0 only if all are passed or accepted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := o.check(); err != nil {
				return err
			}
			if output != "" && output != "json" {
				return fmt.Errorf("--output: %q is not json", output)
			}
			driver := &lazyDriver{}
			defer func() { err = errors.Join(err, driver.Close()) }()
			var cluster *kube.Node
			if config, err := loadKubeconfig(kubeconfig); err == nil {
				if cluster, err = kube.NewNode(config, node); err != nil {
					return err
				}
			}
			checks := doctor.Examine(cmd.Context(), o.host(driver, cluster), o.accepted)
			if err := printChecks(cmd.OutOrStdout(), output, checks); err != nil {
				return err
			}
			if v := doctor.Verdict(checks); v.Status != "True" {
				return fmt.Errorf("nothing is lent on this node: Lendable is %s (%s)", v.Status, v.Reason)
			}
			return nil
		},
	}
	o.flags(cmd.Flags())
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig file; absent: $KUBECONFIG, or the pod's service account")
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or absent for a table")
	return cmd
}

func printChecks(w io.Writer, output string, checks []doctor.Check) error {
	if output == "json" {
		return printJSON(w, checks)
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "CHECK\tRESULT\tFOUND")
	for _, c := range checks {
		result := string(c.Result)
		if c.Accepted {
			result += ",accepted"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", c.Name, result, c.Found)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the checks: %w", err)
	}
	for _, c := range checks {
		if c.Todo != "" {
			fmt.Fprintf(w, "\n%s: %s\n", c.Name, c.Todo)
		}
	}
	return nil
}
