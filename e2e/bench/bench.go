// Package bench measures how many pods per second Ebbtide's scheduler places, and
// the scheduler that Kubernetes ships, one after the other on the same control
// plane.
//
// What is the same for both: etcd, API server and nodes; the credentials, the
// client's rate limit (high enough never to be reached) and the log level; the
// pods, one GPU each, at the priority of online services and within their tenant's
// nominal quota, but for spec.schedulerName. What differs is what is compared: the
// binary and its profile. Stock Kubernetes runs its default profile, Ebbtide the one
// that deploy/ ships.
//
// One round creates all pods while no scheduler runs, starts one scheduler, and
// takes the time from the first pod to the last that a watch shows with a node.
// Then the scheduler is stopped and the pods are removed. Rounds alternate in the
// order stock, Ebbtide, Ebbtide, stock, so that neither always goes first. While
// they run there are no other processes on the cluster: kwok and the controllers
// stop once the nodes are ready, so pods never start, and a scheduler shares the
// machine with nothing but what it talks to.
//
// It refuses to report a round in which a pod was not placed or a node got more
// pods than it has GPUs.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// gpusPerNode of every node.
const gpusPerNode = 8

// Config says what is measured.
type Config struct {
	// Nodes with 8 GPUs each.
	Nodes int
	// Pods of one GPU each, placed in every round.
	Pods int
	// Rounds of each scheduler.
	Rounds int
	// Profiles is a folder for CPU profiles of the schedulers, one file per round
	// and scheduler. Profiling slows both down. Empty: none.
	Profiles string
	// Programs is a folder with all binaries, taken as they are. Empty: the
	// repository's bin/, built where stale.
	Programs string
	// Out gets the comparison and its last line, Log the progress.
	Out, Log io.Writer
}

// Default is the size of `make bench-scheduler`.
func Default() Config { return Config{Nodes: 1000, Pods: 5000, Rounds: 3} }

// Validate returns all that is wrong with the configuration, or nil.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, text string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(text, args...))
		}
	}
	check(c.Nodes >= 1 && c.Nodes <= 5000, "--nodes is %d, must be 1 to 5000", c.Nodes)
	check(c.Pods >= 2 && c.Pods <= c.Nodes*gpusPerNode, "--pods is %d, must be 2 to %d, the GPUs of %d nodes", c.Pods, c.Nodes*gpusPerNode, c.Nodes)
	check(c.Rounds >= 1 && c.Rounds <= 100, "--rounds is %d, must be 1 to 100", c.Rounds)
	if c.Profiles != "" {
		info, err := os.Stat(c.Profiles)
		check(err == nil && info.IsDir(), "--profiles is %s, must be a folder", c.Profiles)
	}
	return errors.Join(errs...)
}

// Run measures both schedulers and writes the comparison to c.Out. Its last line
// is a JSON object with the median round of each and their ratio.
func Run(ctx context.Context, c Config) (err error) {
	if err := c.Validate(); err != nil {
		return err
	}
	b, err := newBench(ctx, c)
	if b != nil {
		defer func() { err = errors.Join(err, b.lab.Stop()) }()
	}
	if err != nil {
		return err
	}
	rounds, err := b.play(ctx)
	if err != nil {
		return err
	}
	return write(c.Out, c, rounds)
}

// play runs one short round of each scheduler, which is not reported, and then the
// rounds that are.
func (b *bench) play(ctx context.Context) ([]round, error) {
	for _, s := range []scheduler{stock, ebbtide} {
		if _, err := b.round(ctx, s, 0, max(2, b.config.Pods/warmUpShare)); err != nil {
			return nil, err
		}
	}
	var rounds []round
	for i, s := range order(b.config.Rounds) {
		r, err := b.round(ctx, s, i+1, b.config.Pods)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(b.config.Log, "round %d of %d: %s placed %.1f pods/s\n", i+1, 2*b.config.Rounds, s.title(), r.podsPerSecond())
		rounds = append(rounds, r)
	}
	return rounds, nil
}

// warmUpShare of the pods are placed before anything is measured: connections,
// caches and the API server's code are then equally warm for both.
const warmUpShare = 10

// scheduler is one of the two that are compared.
type scheduler string

const (
	stock   scheduler = lab.KubeScheduler
	ebbtide scheduler = lab.Scheduler
)

// title is how the scheduler is printed.
func (s scheduler) title() string { return string(s) }

// order alternates the two so that both go first equally often.
func order(rounds int) []scheduler {
	var out []scheduler
	for i := range rounds {
		if i%2 == 0 {
			out = append(out, stock, ebbtide)
		} else {
			out = append(out, ebbtide, stock)
		}
	}
	return out
}
