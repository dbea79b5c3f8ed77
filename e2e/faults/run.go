package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ebbtide/ebbtide/e2e/disk"
	"github.com/ebbtide/ebbtide/e2e/faults/rounds"
	"github.com/ebbtide/ebbtide/e2e/faults/stage"
	"github.com/ebbtide/ebbtide/e2e/lab/build"
)

// Within is how soon after the last fault everything must be stable.
const Within = 30 * time.Second

// Config says how much is tried. Short and Long are whole ones but for the seed and the
// writer's program.
type Config struct {
	// Seed fixes what is drawn, not the moments at which processes meet.
	Seed uint64
	// Disk is what is done to the ledger's file; its Seed, Dir and Out are set by Run.
	Disk disk.Config
	// Rounds are made in a lab of Nodes; zero Rounds: none. Each Block of them ends with
	// Silence, in which nothing may be written, and a judgement.
	Rounds, Block, Nodes int
	Silence              time.Duration
	// Beside are further rounds in labs of their own.
	Beside []Part
	// Attacks tells whether a tenant attacks.
	Attacks bool
	// Dir is where files and labs are; empty: temporary folders.
	Dir string
	// LeastKills and LeastStates are how many must have been tried.
	LeastKills, LeastStates int
	Out                     io.Writer
}

// Part is something else that is tried. It says what it found by the laws that the last line
// names.
type Part struct {
	Name string
	Run  func(ctx context.Context, seed uint64, out io.Writer) (rounds.Result, error)
}

// Short is for each change, within 20 minutes on two cores.
func Short() Config {
	c := Config{
		Disk: disk.Short(), Rounds: 30, Block: 15, Nodes: 3, Silence: time.Minute, Attacks: true,
		Beside:     []Part{APIRounds(10, 3, time.Minute)},
		LeastKills: 200, LeastStates: 1000, Out: io.Discard,
	}
	c.Disk.Kills = 180
	return c
}

// Long is for nights.
func Long() Config {
	c := Short()
	c.Disk, c.Rounds, c.Block, c.LeastKills, c.LeastStates = disk.Long(), 400, 40, 1000, 10000
	c.Beside = []Part{APIRounds(100, 3, time.Minute)}
	return c
}

// Counts are what was tried and found: the last line of a run.
type Counts struct {
	Rounds      int `json:"rounds"`
	Sigkills    int `json:"sigkills"`
	CrashStates int `json:"crashStates"`
	// AckedLost are entries that somebody was shown and that were gone, Duplicates what was
	// there twice, DoubleLent units or jobs in two hands, SilentGaps entries that were
	// missing without a word, ChainBreaks breaches of anything else that a book keeps.
	AckedLost   int `json:"ackedLost"`
	Duplicates  int `json:"duplicates"`
	DoubleLent  int `json:"doubleLent"`
	SilentGaps  int `json:"silentGaps"`
	ChainBreaks int `json:"chainBreaks"`
	// ConvergeSecondsP99 is how long after its faults 99 of 100 rounds were stable at last.
	ConvergeSecondsP99 float64 `json:"convergeSecondsP99"`
	// AttackCases are ways out by the API's routes, AttacksRefused those that bought nothing.
	AttackCases    int `json:"attackCases"`
	AttacksRefused int `json:"attacksRefused"`

	// LedgerKills were of the ledger's writers alone, BrokerKills of brokers, and the rest of
	// Sigkills of other parts of a cluster. Sigstops lasted longer than the broker's Lease.
	LedgerKills int `json:"ledgerKills"`
	BrokerKills int `json:"brokerKills"`
	Sigstops    int `json:"sigstops"`
	// Failpoints is at how many different steps a program was killed.
	Failpoints int `json:"failpoints"`
	// Late are rounds that were not stable in time, Noisy blocks that were not silent.
	Late  int `json:"late"`
	Noisy int `json:"noisy"`
	// Undecided are histories for which the search for an order took too long.
	Undecided int    `json:"undecided"`
	Seed      uint64 `json:"seed"`
}

// String is the counts as one line of JSON.
func (c Counts) String() string {
	line, err := json.Marshal(c)
	if err != nil {
		return err.Error()
	}
	return string(line)
}

// Run tries everything and returns the counts. The error says what was found, what could not
// be tried, and of what too little was.
func Run(ctx context.Context, c Config) (Counts, error) {
	total := Counts{Seed: c.Seed}
	var errs []error
	part := func(name string, run func() error) {
		if ctx.Err() != nil {
			return
		}
		began := time.Now()
		fmt.Fprintf(c.Out, "--------- %s\n", name)
		if err := run(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		fmt.Fprintf(c.Out, "--------- %s took %s\n", name, time.Since(began).Round(time.Second))
	}
	if c.Disk.Appends > 0 {
		part("the ledger's file", func() error { return c.disk(ctx, &total) })
	}
	var all rounds.Result
	if c.Rounds > 0 {
		part("rounds", func() error { return c.rounds(ctx, &all) })
	}
	for _, p := range c.Beside {
		part(p.Name, func() error {
			r, err := p.Run(ctx, c.Seed, c.Out)
			merge(&all, &r)
			return errors.Join(err, verdict(&r))
		})
	}
	total.addRounds(&all)
	if c.Attacks {
		part("a tenant's attacks", func() error { return c.attacks(ctx, &total) })
	}
	return total, errors.Join(append(errs, context.Cause(ctx), c.enough(&total))...)
}

func (c *Config) disk(ctx context.Context, total *Counts) error {
	d := c.Disk
	d.Seed, d.Dir, d.Out = c.Seed, c.Dir, c.Out
	found, err := disk.Run(ctx, d)
	total.Sigkills += found.Sigkills
	total.LedgerKills += found.Sigkills
	total.CrashStates += found.CrashStates
	total.AckedLost += found.AckedLost
	total.Duplicates += found.Duplicates
	total.ChainBreaks += found.ChainBreaks
	return err
}

func (c *Config) rounds(ctx context.Context, into *rounds.Result) error {
	logf := func(text string, args ...any) { fmt.Fprintf(c.Out, text+"\n", args...) }
	programs, err := build.Faults(ctx, logf, "plain")
	if err != nil {
		return err
	}
	*into, err = rounds.Run(ctx, rounds.Config{
		Stage: stage.Config{BinDir: programs, Nodes: c.Nodes},
		Seed:  c.Seed, Rounds: c.Rounds, Block: c.Block, Within: Within, Silence: c.Silence, Out: c.Out,
	})
	return errors.Join(err, verdict(into))
}

// verdict is an error of what was found, and of rounds in which nothing could be.
func verdict(r *rounds.Result) error {
	errs := []error{r.Tried()}
	for _, finding := range r.Findings {
		errs = append(errs, errors.New(finding))
	}
	return errors.Join(errs...)
}

// merge adds what other rounds have brought.
func merge(all, r *rounds.Result) {
	all.Rounds += r.Rounds
	all.Sigkills += r.Sigkills
	all.BrokerKills += r.BrokerKills
	all.Sigstops += r.Sigstops
	all.AckedLost += r.AckedLost
	all.Duplicates += r.Duplicates
	all.DoubleLent += r.DoubleLent
	all.SilentGaps += r.SilentGaps
	all.ChainBreaks += r.ChainBreaks
	all.Late += r.Late
	all.Noisy += r.Noisy
	all.Undecided += r.Undecided
	all.Converge = append(all.Converge, r.Converge...)
}

func (t *Counts) addRounds(r *rounds.Result) {
	t.Rounds += r.Rounds
	t.Sigkills += r.Sigkills
	t.BrokerKills += r.BrokerKills
	t.Sigstops += r.Sigstops
	t.AckedLost += r.AckedLost
	t.Duplicates += r.Duplicates
	t.DoubleLent += r.DoubleLent
	t.SilentGaps += r.SilentGaps
	t.ChainBreaks += r.ChainBreaks
	t.Late += r.Late
	t.Noisy += r.Noisy
	t.Undecided += r.Undecided
	t.Failpoints = len(r.Reached)
	t.ConvergeSecondsP99 = float64(r.P99().Milliseconds()) / 1000
}

// enough says of what too little was tried, or too much came of it.
func (c *Config) enough(t *Counts) error {
	var errs []error
	least := func(what string, have, want int) {
		if have < want {
			errs = append(errs, fmt.Errorf("only %d %s were tried, want %d", have, what, want))
		}
	}
	least("kills", t.Sigkills, c.LeastKills)
	least("crash states", t.CrashStates, c.LeastStates)
	least("rounds", t.Rounds, c.Rounds)
	if n := t.AckedLost + t.Duplicates + t.DoubleLent + t.SilentGaps + t.ChainBreaks + t.Late + t.Noisy; n > 0 {
		errs = append(errs, fmt.Errorf("%d things were found that may not be", n))
	}
	if t.ConvergeSecondsP99 > Within.Seconds() {
		errs = append(errs, fmt.Errorf("one round in a hundred took %.1f s until it was stable, want %.0f at most", t.ConvergeSecondsP99, Within.Seconds()))
	}
	if c.Attacks && t.AttackCases == 0 || t.AttacksRefused != t.AttackCases {
		errs = append(errs, fmt.Errorf("%d of %d attacks were refused", t.AttacksRefused, t.AttackCases))
	}
	return errors.Join(errs...)
}

// Only leaves one part of what is tried: disk, rounds, proxy or attacks; empty: all. What is
// left out need not be enough.
func (c *Config) Only(part string) error {
	if part == "" {
		return nil
	}
	all := *c
	c.Disk, c.Rounds, c.Beside, c.Attacks, c.LeastKills, c.LeastStates = disk.Config{}, 0, nil, false, 0, 0
	switch part {
	case "disk":
		c.Disk = all.Disk
	case "rounds":
		c.Rounds = all.Rounds
	case "proxy":
		c.Beside = all.Beside
	case "attacks":
		c.Attacks = true
	default:
		return fmt.Errorf("there is no part %q: must be disk, rounds, proxy or attacks", part)
	}
	return nil
}
