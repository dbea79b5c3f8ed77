package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/e2e/faults"
)

// testFaultsCommand breaks everything there is a way to break.
func testFaultsCommand() *cobra.Command {
	long, seed, count, only := false, uint64(time.Now().UnixNano()), 0, ""
	cmd := &cobra.Command{
		Use:   "test-faults",
		Short: "Kill, stop, starve and attack a running system, and count what was lost",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			c := faults.Short()
			if long {
				c = faults.Long()
			}
			if count > 0 {
				c.Rounds = count
			}
			c.Disk.Program, c.Seed, c.Out = []string{self, diskWriter}, seed, os.Stdout
			if err := c.Only(only); err != nil {
				return err
			}
			fmt.Printf("seed %d\n", seed)
			counts, err := faults.Run(cmd.Context(), c)
			if err != nil {
				fmt.Println(err)
				err = fmt.Errorf("seed %d: something was found, or too little was tried; it is told above", seed)
			}
			fmt.Println(counts)
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&long, "long", false, "1,000 kills and 10,000 crash states")
	f.Uint64Var(&seed, "seed", seed, "fixes what is broken in which round (default: the time)")
	f.IntVar(&count, "rounds", 0, "rounds in the lab (default: 30, and 400 with --long)")
	f.StringVar(&only, "only", "", "one part alone: disk, rounds, proxy or attacks (default: all)")
	return cmd
}
