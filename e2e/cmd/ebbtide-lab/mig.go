package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/e2e/bench/mig"
)

// checkMIGCommand compares the planner of slices with the best there is.
func checkMIGCommand() *cobra.Command {
	c := mig.DefaultCheck()
	c.Out = os.Stdout
	cmd := &cobra.Command{
		Use:   "check-mig",
		Short: "Compare all plans for one A100's slices, and some for other boards, with what trying everything gives",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return mig.Check(c) },
	}
	f := cmd.Flags()
	f.IntVar(&c.Samples, "samples", c.Samples, "states that are drawn of boards with too many for all")
	f.Float64Var(&c.Most, "most", c.Most, "mean microseconds of one plan from which on the check fails")
	return cmd
}

// benchMIGCommand compares ways to place slices that come and go.
func benchMIGCommand() *cobra.Command {
	c := mig.DefaultBench()
	c.Out = os.Stdout
	cmd := &cobra.Command{
		Use:   "bench-mig",
		Short: "Measure for how many slices that come and go there is no place, by how places are chosen",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return mig.Bench(c) },
	}
	f := cmd.Flags()
	f.IntVar(&c.GPUs, "gpus", c.GPUs, "GPUs of the cluster")
	f.Float64SliceVar(&c.Loads, "loads", c.Loads, "loads, as shares of all compute slices")
	f.IntVar(&c.Seeds, "seeds", c.Seeds, "runs of each load")
	f.IntVar(&c.Arrivals, "arrivals", c.Arrivals, "slices that are asked for in each run")
	f.BoolVar(&c.Check, "check", false, "fail if ours rejects more than half of what first fit does at a load of 0.75")
	return cmd
}
