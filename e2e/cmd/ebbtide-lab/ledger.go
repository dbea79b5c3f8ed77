package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/e2e/bench/ledger"
)

// ledgerCommand measures what the broker's books cost.
func ledgerCommand() *cobra.Command {
	c := ledger.Default()
	c.Out = os.Stdout
	cmd := &cobra.Command{
		Use:   "bench-ledger",
		Short: "Measure the ledger: durable entries against bare bbolt, and a million of them verified",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return ledger.Run(c) },
	}
	f := cmd.Flags()
	f.IntVar(&c.Appends, "appends", c.Appends, "entries that are written one by one")
	f.IntVar(&c.Records, "records", c.Records, "entries that are verified; times are scaled to a million")
	f.IntVar(&c.Rounds, "rounds", c.Rounds, "how often they are verified; the quickest counts")
	f.StringVar(&c.Dir, "dir", "", "folder for the files, on the disk that is measured (default: a temporary one)")
	return cmd
}
