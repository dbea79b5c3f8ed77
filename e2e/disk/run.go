package disk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/ebbtide/ebbtide/e2e/disk/trace"
	"github.com/ebbtide/ebbtide/e2e/disk/writer"
)

// Config says how much is tried. Short and Long are whole ones but for the program.
type Config struct {
	// Program and Env start the writer (see package writer); its arguments come after.
	Program, Env []string
	// Dir is a folder on a disk for files, of which nothing is left; empty: a temporary one.
	Dir string
	// Seed fixes what is drawn, not the moments at which processes are killed.
	Seed uint64
	// Appends is how many entries the traced writer makes, and StatesPerCut how many states
	// of each place for a power cut are judged.
	Appends, StatesPerCut int
	// EIO is how many syncs fail, ENOSPC how many writes; Limits are sizes that files may
	// not outgrow.
	EIO, ENOSPC int
	Limits      []int
	// Flips are damaged files, and Kills killed writers.
	Flips, Kills int
	Out          io.Writer

	tracer tracer // nil: trace.Run
}

type tracer func(ctx context.Context, argv, env []string, file string, fault *trace.Fault) (*trace.Record, error)

// Short is for each change: at least 1,000 crash states, within three minutes.
func Short() Config {
	return Config{
		Appends: 210, StatesPerCut: 3, EIO: 200, ENOSPC: 60, Limits: []int{40 << 10, 100 << 10, 300 << 10, 1 << 20},
		Flips: 1000, Kills: 150, Out: io.Discard,
	}
}

// Long is for nights: at least 10,000 crash states, 10,000 damaged files and 1,000 kills.
func Long() Config {
	c := Short()
	c.Appends, c.StatesPerCut, c.ENOSPC, c.Flips, c.Kills = 700, 8, 200, 10000, 1000
	return c
}

// Counts are what was tried and found, and the last line of a run.
type Counts struct {
	CrashStates int `json:"crashStates"`
	Sigkills    int `json:"sigkills"`
	EIO         int `json:"eio"`
	ENOSPC      int `json:"enospc"`
	Flips       int `json:"flips"`
	// AckedLost are acknowledged entries that were gone, Duplicates work that was there
	// twice, and entries that nobody could have written. ChainBreaks are sound files that
	// the witness or the product found fault with, or of which they saw different heads.
	AckedLost   int `json:"ackedLost"`
	Duplicates  int `json:"duplicates"`
	ChainBreaks int `json:"chainBreaks"`
	// Unnoticed is damage that was served, and Deaths are processes that a file ended.
	Unnoticed int `json:"unnoticed"`
	Deaths    int `json:"deaths"`
	// Harmless is damage of bytes that mean nothing, InDoubt entries that were on disk and
	// not acknowledged.
	Harmless int `json:"harmless"`
	InDoubt  int `json:"inDoubt"`
	// Controls are guards that were taken away, and missed.
	Controls int `json:"controls"`
}

type tally struct{ tried, guilty int }

// run is one in progress.
type run struct {
	c       Config
	program program
	rng     *rand.Rand
	opener  *opener
	// ledger is what writers write, scratch what is judged, and empty a ledger of no entries.
	ledger, scratch string
	empty           []byte

	counts    Counts
	kept      int
	forgotten tally
	faults    []string
}

// mostFaults is how many faults are told.
const mostFaults = 20

// Run tries everything and returns the counts. The error says what was found that should not
// have been, or what could not be tried. Where programs cannot be traced, power cuts and
// failing calls are passed over and their counts are 0, which is said on Out.
func Run(ctx context.Context, c Config) (Counts, error) {
	dir, err := os.MkdirTemp(c.Dir, "ebbtide-disk-")
	if err != nil {
		return Counts{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	r := &run{
		c: c, program: program{c.Program, c.Env}, rng: rand.New(rand.NewPCG(c.Seed, 0)),
		ledger: filepath.Join(dir, "ledger.db"), scratch: filepath.Join(dir, "judged.db"),
	}
	if r.c.tracer == nil {
		r.c.tracer = trace.Run
	}
	r.opener = &opener{program: r.program}
	defer func() { _ = r.opener.stop() }()
	if err := writer.Create(r.ledger); err != nil {
		return Counts{}, err
	}
	if r.empty, err = os.ReadFile(r.ledger); err != nil {
		return Counts{}, err
	}
	for _, part := range []func(context.Context) error{r.power, r.failing, r.full, r.rot, r.kills} {
		err := part(ctx)
		if errors.Is(err, trace.ErrUnavailable) {
			fmt.Fprintf(c.Out, "skipped   %v\n", err)
			continue
		}
		if err != nil {
			return r.counts, err
		}
	}
	return r.counts, r.verdict()
}

// convict counts what is wrong with a file that should be sound.
func (r *run) convict(what string, j judgement) {
	r.counts.AckedLost += j.lost
	r.counts.Duplicates += j.doubled + j.extra
	if len(j.chain) > 0 || j.refused != "" || j.differ != "" {
		r.counts.ChainBreaks++
	}
	if j.died {
		r.counts.Deaths++
	}
	if j.guilty() {
		r.accuse("%s: %s", what, j)
	}
}

func (r *run) doubt(j judgement) {
	if j.inDoubt {
		r.counts.InDoubt++
	}
}

func (r *run) accuse(text string, args ...any) {
	if len(r.faults) < mostFaults {
		r.faults = append(r.faults, fmt.Sprintf(text, args...))
	}
}

// control takes note of a guard that was taken away; not to miss it is an error.
func (r *run) control(name string, missed bool, text string, args ...any) error {
	said := fmt.Sprintf(text, args...)
	fmt.Fprintf(r.c.Out, "control   %s: %s\n", name, said)
	if !missed {
		return fmt.Errorf("control %q was not found guilty: %s", name, said)
	}
	r.counts.Controls++
	return nil
}

func (r *run) verdict() error {
	var errs []error
	for _, fault := range r.faults {
		errs = append(errs, errors.New(fault))
	}
	return errors.Join(errs...)
}

// String is the counts as one line of JSON.
func (c Counts) String() string {
	line, err := json.Marshal(c)
	if err != nil {
		return err.Error()
	}
	return string(line)
}
