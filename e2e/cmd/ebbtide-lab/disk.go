package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/e2e/disk"
	"github.com/ebbtide/ebbtide/e2e/disk/writer"
)

// diskWriter is the command by which testDiskCommand starts itself.
const diskWriter = "disk-writer"

// testDiskCommand tries the ledger's file against what a machine can do to it.
func testDiskCommand() *cobra.Command {
	long, seed := false, uint64(time.Now().UnixNano())
	cmd := &cobra.Command{
		Use:   "test-disk",
		Short: "Try the ledger against power cuts, failing and full disks, rot and kills",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			c := disk.Short()
			if long {
				c = disk.Long()
			}
			c.Program, c.Seed, c.Out = []string{self, diskWriter}, seed, os.Stdout
			fmt.Printf("seed %d\n", seed)
			counts, err := disk.Run(cmd.Context(), c)
			fmt.Println(counts)
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&long, "long", false, "10,000 crash states and damaged files, and 1,000 kills")
	f.Uint64Var(&seed, "seed", seed, "fixes what is drawn, not the moments of kills (default: the time)")
	return cmd
}

// diskWriterCommand is the program that is traced, killed and let fail.
func diskWriterCommand() *cobra.Command {
	return &cobra.Command{
		Use: diskWriter, Hidden: true, DisableFlagParsing: true,
		Run: func(_ *cobra.Command, args []string) { os.Exit(writer.Run(args)) },
	}
}
