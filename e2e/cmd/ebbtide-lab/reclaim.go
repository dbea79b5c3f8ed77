package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/e2e/bench/reclaim"
)

// reclaimCommand compares what it costs to get units back.
func reclaimCommand() *cobra.Command {
	c := reclaim.Default()
	c.Out, c.Log = os.Stdout, os.Stderr
	cmd := &cobra.Command{
		Use:   "bench-reclaim",
		Short: "Compare what it costs to get units back, with Ebbtide and with the stock scheduler's preemption",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return reclaim.Run(cmd.Context(), c) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&c.Cases, "cases", c.Cases, "cases to run: a (three gangs), b (gangs of 1 to 64, twice), c (single reclaims)")
	f.IntVar(&c.Rounds, "rounds", c.Rounds, "rounds of case a")
	f.IntVar(&c.NodesB, "nodes-b", c.NodesB, "nodes with 8 GPUs each in case b")
	f.IntVar(&c.NodesC, "nodes-c", c.NodesC, "nodes with 8 GPUs each in case c")
	f.IntVar(&c.Single, "single", c.Single, "single reclaims in case c")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "fixes the order of gangs, their ages and checkpoints")
	f.BoolVar(&c.Check, "check", false, "fail if an aim was missed")
	f.BoolVar(&c.Keep, "keep", false, "keep the folders of all labs, with their logs")
	f.StringVar(&c.Programs, "programs", "", "folder with all binaries, taken as they are (default: the repository's bin/, built where stale)")
	return cmd
}
