// Package reclaim measures what it costs to get units back from training jobs: with
// Ebbtide, and with the scheduler that Kubernetes ships and PriorityClasses.
//
// A case is a cluster full of gangs and waves of online pods that need their units.
// Each system gets a fresh control plane with the same nodes, the same gangs in the same
// order and the same waves, by scaling the same Deployments; who goes first alternates.
// Stock is kube-scheduler with its default preemption, and Jobs at a negative priority
// whose failure policy forgives a preemption. Ebbtide is all of it: admission policies,
// broker and scheduler, quotas, a policy for each Deployment, and jobs that the broker
// admits as loans. Both have the same client rate, far above what they use. Containers
// are not run; a pod asked to stop is gone after a second.
//
// Every number but lost work is what a watch saw. An eviction is a bound training pod
// that got a deletion timestamp before it had ended, and breaks its job.
//
// Lost work is reckoned outside of both, by one formula: the GPUs of a job that lost a
// pod, all of its gang, times what it had not saved by then. A gang that is broken loses
// nothing more. Ages are those of jobs that one would meet running at some moment of a
// recorded cluster: drawn by duration, at a uniform point of it; they save ten times in
// their lives, but every 10 minutes at most and every 2 hours at least. Nobody can wait
// that long, so each system is told in its own terms. Stock looks at when pods started:
// gangs start oldest first, and later ones only after the earlier have started. Ebbtide
// looks at what jobs say of their checkpoints, which it believes no further back than the
// loan goes: unsaved time is told Speed times shorter, and so are the broker's restart
// cost and the least time of a loan. What passes during a wave therefore weighs Speed times too much for Ebbtide.
//
// It refuses to report a case in which a wave was not bound whole, or a node got more
// pods than it has GPUs.
package reclaim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Config says what is measured.
type Config struct {
	// Cases of "a", "b" and "c", in this order.
	Cases []string
	// Rounds of case a; the others run once.
	Rounds int
	// NodesB and NodesC are the nodes of cases b and c, with 8 GPUs each.
	NodesB, NodesC int
	// Single is the number of single reclaims in case c.
	Single int
	// Seed fixes the order of gangs, and all that is drawn.
	Seed uint64
	// Programs is a folder with all binaries, taken as they are. Empty: the
	// repository's bin/, built where stale.
	Programs string
	// Keep leaves the folders of all labs behind, with their logs, and with what the
	// broker decided on record, which takes some of its time.
	Keep bool
	// Check makes it an error if an aim was missed.
	Check bool
	// Out gets the tables and the lines of JSON, Log the progress.
	Out, Log io.Writer
}

// Default is the size of `make bench-reclaim`.
func Default() Config {
	return Config{Cases: []string{"a", "b", "c"}, Rounds: 3, NodesB: 100, NodesC: 500, Single: 50, Seed: 1}
}

// Validate returns all that is wrong with the configuration, or nil.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, text string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(text, args...))
		}
	}
	check(len(c.Cases) > 0, "--cases is empty, must name some of a, b and c")
	for i, name := range c.Cases {
		check(slices.Contains([]string{"a", "b", "c"}, name), "--cases has %q, must be some of a, b and c", name)
		check(!slices.Contains(c.Cases[:i], name), "--cases has %q twice", name)
	}
	check(c.Rounds >= 1 && c.Rounds <= 50, "--rounds is %d, must be 1 to 50", c.Rounds)
	check(c.NodesB >= leastNodesB && c.NodesB <= 1000, "--nodes-b is %d, must be %d to 1000", c.NodesB, leastNodesB)
	check(c.NodesC >= 1 && c.NodesC <= 1000, "--nodes-c is %d, must be 1 to 1000", c.NodesC)
	check(c.Single >= 1 && c.Single <= c.NodesC*gpusPerNode, "--single is %d, must be 1 to %d, the GPUs of %d nodes", c.Single, c.NodesC*gpusPerNode, c.NodesC)
	return errors.Join(errs...)
}

// system is one of the two that are compared.
type system string

const (
	stock   system = "stock"
	ebbtide system = "ebbtide"
)

// outcome is one round of a case.
type outcome map[system][]row

// Run measures the cases and writes a table for each to c.Out. The last lines are JSON,
// one for each case. With c.Check, it fails after that if an aim was missed.
func Run(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	trials, err := c.trials()
	if err != nil {
		return err
	}
	var lines, missed []string
	for i, t := range trials {
		rounds, err := c.rounds(ctx, t, i)
		if err != nil {
			return fmt.Errorf("case %s: %w", t.name, err)
		}
		line, err := report(c.Out, t, rounds)
		if err != nil {
			return err
		}
		lines, missed = append(lines, line), append(missed, missedIn(t, rounds)...)
	}
	if _, err = fmt.Fprintln(c.Out, strings.Join(lines, "\n")); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return c.checked(missed)
}

// missedIn are the aims of a case that its rounds missed.
func missedIn(t trial, rounds []outcome) []string {
	var missed []string
	for _, a := range judge(t, rounds) {
		if !a.met {
			missed = append(missed, "case "+t.name+": "+a.text)
		}
	}
	return missed
}

// checked is an error if aims were missed and somebody wants to know.
func (c Config) checked(missed []string) error {
	if !c.Check || len(missed) == 0 {
		return nil
	}
	return fmt.Errorf("%d of the aims were missed: %s", len(missed), strings.Join(missed, "; "))
}

// rounds plays all rounds of a trial, each with both systems.
func (c Config) rounds(ctx context.Context, t trial, number int) ([]outcome, error) {
	var rounds []outcome
	for i := range t.rounds {
		order := []system{stock, ebbtide}
		if (number+i)%2 == 1 {
			slices.Reverse(order)
		}
		o := outcome{}
		for _, s := range order {
			rows, err := c.play(ctx, t, s)
			if err != nil {
				return nil, fmt.Errorf("round %d, %s: %w", i+1, s, err)
			}
			sum := total(rows)
			fmt.Fprintf(c.Log, "case %s, round %d of %d: %s evicted %d pods of %d jobs, slowest wave %.1f s\n",
				t.name, i+1, t.rounds, s, sum.evicted, sum.broken, sum.took.Seconds())
			o[s] = rows
		}
		rounds = append(rounds, o)
	}
	return rounds, nil
}
