package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/e2e/demo/sliced"
)

// slicedCommand replays a night on GPUs that are cut into slices.
func slicedCommand() *cobra.Command {
	c := sliced.Default()
	c.Out, c.Log = os.Stdout, os.Stderr
	cmd := &cobra.Command{
		Use:   "demo-mig",
		Short: "Replay one night of online load on slices of GPUs, and say what was lent and reshaped",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return sliced.Run(cmd.Context(), c) },
	}
	f := cmd.Flags()
	f.IntVar(&c.Nodes, "nodes", c.Nodes, "nodes with 8 cards each")
	f.Float64Var(&c.Speed, "speed", c.Speed, "how many times faster than the day the replay runs")
	f.DurationVar(&c.From, "from", c.From, "where the replay begins, from noon")
	f.DurationVar(&c.To, "to", c.To, "where the replay ends, from noon")
	f.IntVar(&c.LowWater, "low-water", c.LowWater, "percent of the owned slots below which slices are lent")
	f.IntVar(&c.HighWater, "high-water", c.HighWater, "percent of the owned slots above which slices are taken back")
	f.Int64Var(&c.Warm, "warm", c.Warm, "slices that the lender keeps free above its need")
	f.DurationVar(&c.MaxGrace, "max-grace", c.MaxGrace, "longest time for borrowers to stop and cards to be shaped back, in real time")
	f.DurationVar(&c.ModelLoad, "model-load", c.ModelLoad, "time until a new replica serves, in real time")
	f.DurationVar(&c.MinTrough, "min-trough", c.MinTrough, "shortest trough for which a card is reshaped, in the time of the day")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "fixes all chance in the load and the jobs")
	f.BoolVar(&c.Check, "check", false, "fail if a law is broken, a pinned slice touched, or a target missed")
	f.StringVar(&c.Programs, "programs", "", "folder with all binaries, taken as they are (default: the repository's bin/, built where stale)")
	f.StringVar(&c.Dir, "dir", "", "folder to keep, with all logs (default: a temporary one)")
	return cmd
}
