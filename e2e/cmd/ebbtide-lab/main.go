// Command ebbtide-lab runs Ebbtide on a laptop: a real control plane, simulated
// nodes and real load traces, without a container engine and without a GPU.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/e2e/demo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "ebbtide-lab",
		Short:         "Run Ebbtide on a real control plane with simulated nodes and real load",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		command("demo", "Replay one day of online load, and say what was lent", demo.Run),
		slicedCommand(),
		command("up", "Start a cluster with the demo's tenants, and keep it until Ctrl-C", demo.Up),
		benchCommand(),
		forecastCommand(),
		victimsCommand(),
		resultsCommand(),
		reclaimCommand(),
		checkMIGCommand(),
		benchMIGCommand(),
		ledgerCommand(),
		soakCommand(),
		testDiskCommand(),
		testFaultsCommand(),
		diskWriterCommand(),
		buildCommand(),
	)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "ebbtide-lab:", err)
		os.Exit(1)
	}
}

func command(use, short string, run func(context.Context, demo.Config) error) *cobra.Command {
	c := demo.Default()
	c.Out, c.Log = os.Stdout, os.Stderr
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), c) },
	}
	f := cmd.Flags()
	f.IntVar(&c.Nodes, "nodes", c.Nodes, "nodes with 8 GPUs each; 70 keep 2 CPU cores busy, all 278 of the published service need 8 or a lower --speed")
	f.Float64Var(&c.Speed, "speed", c.Speed, "how many times faster than the day the replay runs")
	f.IntVar(&c.LowWater, "low-water", c.LowWater, "percent of the owned slots below which units are lent")
	f.IntVar(&c.HighWater, "high-water", c.HighWater, "percent of the owned slots above which units are taken back")
	f.Int64Var(&c.Warm, "warm", c.Warm, "units that the lender keeps free above its need")
	f.DurationVar(&c.MaxGrace, "max-grace", c.MaxGrace, "longest time for borrowers to stop, in real time")
	f.DurationVar(&c.ModelLoad, "model-load", c.ModelLoad, "time until a new replica serves, in real time")
	f.StringVar(&c.Dir, "dir", "", "folder to keep, with all logs (default: a temporary one)")
	if use == "demo" {
		f.DurationVar(&c.From, "from", c.From, "where the replay begins, from noon")
		f.DurationVar(&c.To, "to", c.To, "where the replay ends, from noon")
		f.Uint64Var(&c.Seed, "seed", c.Seed, "fixes all chance in the load")
		f.BoolVar(&c.Check, "check", false, "fail if a law is broken or a target missed")
	}
	return cmd
}
