package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/internal/cli/rehearse"
	"github.com/ebbtide/ebbtide/broker/internal/cli/term"
)

// rehearsal is the flags that simulate and whatif share.
type rehearsal struct {
	*session
	out        *output
	in         rehearse.Inputs
	config     []string
	prometheus string
	last       time.Duration
	// needsRules: without --config, the cluster's.
	needsRules bool
}

func (o *rehearsal) addFlags(cmd *cobra.Command) {
	o.in, o.last = rehearse.Defaults(), 7*24*time.Hour
	flags := cmd.Flags()
	flags.StringSliceVar(&o.in.Load, "load", nil, "File with the load of services, or NAME=FILE where the file does not name its one; several may be given")
	flags.StringVar(&o.in.Jobs, "jobs", "", "File with training jobs")
	flags.StringVar(&o.in.Nodes, "nodes", "", "File with nodes, or NODESxGPUS[:FLAVOR], several by commas")
	flags.StringVar(&o.prometheus, "from-prometheus", "", "URL of a Prometheus that is asked for what --load, --jobs and --nodes do not give")
	flags.Var((*span)(&o.last), "last", "How much of the past is asked for")
	flags.StringSliceVar(&o.config, "config", nil, "File with LendingPolicies, TenantQuotas, TrainingQueues and what they name; several may be given")
	flags.Var((*span)(&o.in.Length), "length", "How much is played; 0 is all of the longest load")
	flags.Var((*span)(&o.in.Warmup), "warmup", "How much of the beginning does not count: forecasts learn from it")
	flags.Uint64Var(&o.in.Seed, "seed", o.in.Seed, "Seed of what is drawn")
	flags.Float64Var(&o.in.Services.Slots, "slots", 0, "Requests that a replica serves at once; 0 is so many that the GPUs are just enough for the load's 99.9th percentile")
	flags.Var((*span)(&o.in.Services.RequestTime), "request-time", "How long a request takes, where a load is in requests per second and --slots is given")
	flags.Float64Var(&o.in.Services.Share, "owned-share", o.in.Services.Share, "Part of all GPUs that services own, where neither policies nor nodes say it")
	flags.Int64Var(&o.in.Services.GPUs, "gpus-per-replica", 0, "GPUs of a replica where no workload in --config says it; 0 is those of a node, 8 at most")
	flags.Var((*span)(&o.in.Services.Reload), "reload", "From a replica's start until it serves")
	flags.Var((*span)(&o.in.Costs.CheckpointEvery), "checkpoint-every", "How often jobs save their work where their history does not say it; 0 is never")
	flags.Var((*span)(&o.in.Costs.Grace), "grace", "How long a job that is taken back may take to stop")
	flags.Var((*span)(&o.in.Costs.Restart), "restart", "How long a job that was taken back takes to start again")
	for _, name := range []string{"load", "jobs", "nodes"} {
		_ = cmd.MarkFlagFilename(name, "csv", "json", "txt") // fails only for a flag that is not there
	}
	_ = cmd.MarkFlagFilename("config", "yaml", "yml", "json")
	o.out.addFlags(cmd)
}

// span is a duration flag that knows days and weeks, and is not negative.
type span time.Duration

func (s *span) Set(text string) error {
	d, err := model.ParseDuration(text)
	if err != nil {
		return errors.New("must be a duration, for example 90s, 12h or 7d")
	}
	*s = span(d)
	return nil
}

func (s *span) String() string { return model.Duration(*s).String() }

func (*span) Type() string { return "duration" }

// complete checks the flags, and reads the rules and what Prometheus knows.
func (o *rehearsal) complete(ctx context.Context) (err error) {
	if err := o.out.validate(); err != nil {
		return err
	}
	if o.prometheus != "" {
		if _, err := access.ParseURL(o.prometheus, "http://localhost:9090"); err != nil {
			return fmt.Errorf("--from-prometheus: %w", err)
		}
	}
	s := &o.in.Services
	switch {
	case !(s.Share > 0 && s.Share <= 1):
		return fmt.Errorf("--owned-share: is %g, must be above 0 and at most 1", s.Share)
	case !(s.Slots >= 0):
		return fmt.Errorf("--slots: is %g, must not be negative", s.Slots)
	case s.GPUs < 0:
		return fmt.Errorf("--gpus-per-replica: is %d, must not be negative", s.GPUs)
	}
	if o.in.Rules, err = o.rules(ctx); err != nil {
		return err
	}
	if o.prometheus == "" {
		return nil
	}
	return o.in.Ask(ctx, o.prometheus, o.Clock.Now(), o.last)
}

// rules are those of --config, or else of the cluster where they are needed.
func (o *rehearsal) rules(ctx context.Context) (*rehearse.Objects, error) {
	if len(o.config) > 0 || !o.needsRules && o.prometheus == "" {
		return readRules("--config", o.config)
	}
	config, err := o.session.config.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	objects, err := rehearse.Live(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("%w; --config may have the rules instead", err)
	}
	return objects, nil
}

// readRules reads the objects of files that came by a flag.
func readRules(flag string, files []string) (*rehearse.Objects, error) {
	all := &rehearse.Objects{}
	for _, file := range files {
		objects, err := readObjects(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		all = all.With(objects)
	}
	return all, nil
}

func readObjects(file string) (*rehearse.Objects, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return rehearse.ReadObjects(file, f)
}

// play makes all runs, one report for each stage, and draws how far that is if somebody
// watches.
func (o *rehearsal) play(ctx context.Context, runs []rehearse.Run) ([]*rehearse.Report, error) {
	bar := newProgress(o.Streams.ErrOut)
	results, err := rehearse.Play(ctx, runs, bar.draw)
	bar.clear()
	if err != nil {
		return nil, err
	}
	var reports []*rehearse.Report
	for from, to := 0, 1; from < len(runs); to++ {
		if to == len(runs) || runs[to].Stage != runs[from].Stage {
			reports = append(reports, rehearse.NewReport(runs[from].Stage, results[from:to]))
			from = to
		}
	}
	return reports, nil
}

// notes tells what was assumed, which is part of every answer.
func (o *rehearsal) notes(assumptions, missing []string) {
	for _, m := range missing {
		o.note("missing: %s", m)
	}
	for _, a := range assumptions {
		o.note("assumed: %s", a)
	}
}

// progress draws a line on a terminal, again and again; elsewhere nothing.
type progress struct {
	to    io.Writer
	drawn int // percent
}

func newProgress(to io.Writer) *progress {
	p := &progress{drawn: -1}
	if term.Is(to) {
		p.to = to
	}
	return p
}

// barWidth is the length of the bar.
const barWidth = 40

func (p *progress) draw(share float64) {
	percent := int(share * 100)
	if p.to == nil || percent == p.drawn {
		return
	}
	p.drawn = percent
	n := percent * barWidth / 100
	fmt.Fprintf(p.to, "\r[%s%s] %3d%%", strings.Repeat("#", n), strings.Repeat(".", barWidth-n), percent)
}

// clear removes the line.
func (p *progress) clear() {
	if p.to != nil && p.drawn >= 0 {
		fmt.Fprintf(p.to, "\r%*s\r", barWidth+7, "")
	}
}
