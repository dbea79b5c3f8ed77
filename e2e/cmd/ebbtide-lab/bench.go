package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/e2e/bench"
	"github.com/ebbtide/ebbtide/e2e/bench/forecast"
	"github.com/ebbtide/ebbtide/e2e/bench/victims"
)

// benchCommand compares Ebbtide's scheduler with the stock one.
func benchCommand() *cobra.Command {
	c := bench.Default()
	c.Out, c.Log = os.Stdout, os.Stderr
	cmd := &cobra.Command{
		Use:   "bench-scheduler",
		Short: "Compare how fast ebbtide-scheduler and the stock kube-scheduler place pods",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return bench.Run(cmd.Context(), c) },
	}
	f := cmd.Flags()
	f.IntVar(&c.Nodes, "nodes", c.Nodes, "nodes with 8 GPUs each")
	f.IntVar(&c.Pods, "pods", c.Pods, "pods of one GPU that are placed in every round")
	f.IntVar(&c.Rounds, "rounds", c.Rounds, "rounds of each scheduler")
	f.StringVar(&c.Profiles, "profiles", "", "existing folder for a CPU profile of every round (default: none)")
	f.StringVar(&c.Programs, "programs", "", "folder with all binaries, taken as they are (default: the repository's bin/, built where stale)")
	return cmd
}

// forecastCommand compares what the broker lends over recorded loads with simpler rules.
func forecastCommand() *cobra.Command {
	c := forecast.Default()
	c.Out = os.Stdout
	cmd := &cobra.Command{
		Use:   "bench-forecast",
		Short: "Measure how much the broker lends over recorded loads, and how often too much",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return forecast.Run(c) },
	}
	f := cmd.Flags()
	f.DurationVar(&c.Notice, "notice", c.Notice, "how long after it was asked back a unit is free, in whole minutes")
	f.DurationSliceVar(&c.Others, "others", c.Others, "more of them, for which only the broker and the oracle are shown")
	f.Float64Var(&c.Quantile, "quantile", c.Quantile, "how often the headroom is to suffice")
	return cmd
}

// victimsCommand compares the choice of victims with the best there is and with others.
func victimsCommand() *cobra.Command {
	c := victims.Default()
	c.Out = os.Stdout
	cmd := &cobra.Command{
		Use:   "bench-victims",
		Short: "Measure how much work is lost by the choice of victims, against the least there is and the rules of others",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return victims.Run(c) },
	}
	f := cmd.Flags()
	f.IntVar(&c.Small, "small", c.Small, "small instances, on which everything is tried")
	f.IntVar(&c.Large, "large", c.Large, "larger instances, on which the rules are compared")
	return cmd
}
