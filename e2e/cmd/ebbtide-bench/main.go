// Command ebbtide-bench measures the simulator and the core at scale. It is a program of its
// own, so that the memory it needs is theirs.
//
//	ebbtide-bench sim       all jobs of the ITP trace on 10,000 GPUs
//	ebbtide-bench scale     one decision in clusters of 1,000 to 30,000 GPUs
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/pprof"

	"github.com/ebbtide/ebbtide/e2e/bench/scale"
	"github.com/ebbtide/ebbtide/e2e/bench/sim"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ebbtide-bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: ebbtide-bench sim|scale [FLAG...]")
	}
	switch args[0] {
	case "sim":
		return simulate(args[1:])
	case "scale":
		return decide(args[1:])
	}
	return fmt.Errorf("there is no benchmark %q", args[0])
}

func simulate(args []string) error {
	c := sim.Default()
	c.Out = os.Stdout
	f := flag.NewFlagSet("sim", flag.ContinueOnError)
	f.Int64Var(&c.GPUs, "gpus", c.GPUs, "GPUs of the cluster")
	f.DurationVar(&c.Length, "length", c.Length, "how much of the trace is played")
	f.DurationVar(&c.Every, "every", c.Every, "time between two decisions")
	f.DurationVar(&c.Slice, "slice", c.Slice, "how much is played with each of several times between decisions; 0 is none")
	profile := f.String("profile", "", "file for a profile of the processor")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *profile != "" {
		out, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer out.Close()
		if err := pprof.StartCPUProfile(out); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	return sim.Run(c)
}

func decide(args []string) error {
	c := scale.Default()
	c.Out = os.Stdout
	f := flag.NewFlagSet("scale", flag.ContinueOnError)
	f.DurationVar(&c.Length, "length", c.Length, "how much of the trace is played in each cluster")
	f.DurationVar(&c.Every, "every", c.Every, "time between two decisions")
	if err := f.Parse(args); err != nil {
		return err
	}
	return scale.Run(c)
}
