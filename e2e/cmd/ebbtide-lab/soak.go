package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/e2e/soak"
)

// soakCommand plays an adversary against Ebbtide.
func soakCommand() *cobra.Command {
	c := soak.Default()
	c.Out, c.Log = os.Stdout, os.Stderr
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "Play random spikes, comings and goings against Ebbtide, and say whether jobs were taken back too often",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return soak.Run(cmd.Context(), c) },
	}
	f := cmd.Flags()
	f.IntVar(&c.Nodes, "nodes", c.Nodes, "nodes with 8 GPUs each")
	f.DurationVar(&c.Length, "length", c.Length, "how long it is, in the time of the services")
	f.Float64Var(&c.Speed, "speed", c.Speed, "how many times faster than that it runs")
	f.IntVar(&c.Budget, "budget", c.Budget, "how often a job may be taken back within the window")
	f.DurationVar(&c.Window, "window", c.Window, "the window of the budget, in the time of the services")
	f.DurationVar(&c.MaxGrace, "max-grace", c.MaxGrace, "longest time for jobs to stop, in real time")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "fixes all that is drawn")
	f.BoolVar(&c.Unguarded, "unguarded", false, "switch the broker's guards off, to see that the check finds it")
	f.StringVar(&c.Dir, "dir", "", "folder to keep, with all logs (default: a temporary one)")
	return cmd
}
