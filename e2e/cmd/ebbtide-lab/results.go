package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/e2e/results"
)

// resultsCommand computes what docs/results publishes.
func resultsCommand() *cobra.Command {
	c := results.Default()
	c.Out, c.Log = os.Stdout, os.Stderr
	cmd := &cobra.Command{
		Use:   "results",
		Short: "Play all experiments on recorded loads and jobs, and publish what came of them",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return results.Run(cmd.Context(), c) },
	}
	f := cmd.Flags()
	f.StringVar(&c.Dir, "dir", c.Dir, "folder of what is published")
	f.BoolVar(&c.Check, "check", false, "fail if the folder differs from what is computed, or a target is missed that is told as met")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "draws what no recording tells")
	return cmd
}
