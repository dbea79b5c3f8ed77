package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/e2e/lab/build"
)

// buildCommand builds what a lab runs, so that the time of a build is not that
// of a demo or a test.
func buildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "build [PROGRAM...]",
		Short: "Build what a lab runs, or the programs named, into bin/, where it is missing or stale",
		RunE: func(cmd *cobra.Command, names []string) error {
			say := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
			if len(names) == 0 {
				names = []string{build.ControlPlane, build.Kwok, build.Prometheus, build.Broker, build.Scheduler, build.Agent}
			}
			_, err := build.Programs(cmd.Context(), say, names...)
			return err
		},
	}
}
