package segments

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/seal"
)

// How often checkpoints are written unless Options say otherwise.
const (
	DefaultCheckpointEntries  = 10_000
	DefaultCheckpointInterval = time.Hour
)

// turnRetry is after which time a turn that failed is tried again.
const turnRetry = time.Minute

// Options of Open. The zero value is usable. MaxBytes is for all files together.
type Options struct {
	ledger.Options
	// Signer signs the checkpoints; nil: they are not signed.
	Signer *seal.Signer
	// CheckpointEntries and CheckpointInterval are after how many entries, and after which
	// time with any, a checkpoint is written; 0: the defaults.
	CheckpointEntries  uint64
	CheckpointInterval time.Duration
	// Checkpointed, if set, hears of each checkpoint, and Failed of what was put off: a turn
	// or a checkpoint that could not be made. Neither may call the Set.
	Checkpointed func(p ledger.CheckpointPayload)
	Failed       func(err error)

	step func(name string) error // tests stop a turn
}

func (o *Options) complete() {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.CheckpointEntries == 0 {
		o.CheckpointEntries = DefaultCheckpointEntries
	}
	if o.CheckpointInterval <= 0 {
		o.CheckpointInterval = DefaultCheckpointInterval
	}
	if o.Checkpointed == nil {
		o.Checkpointed = func(ledger.CheckpointPayload) {}
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	if o.step == nil {
		o.step = func(string) error { return nil }
	}
}

// Set is an open ledger of several files. All methods may be called from any goroutine.
type Set struct {
	path string
	opts Options
	id   string

	// writing is held by whoever appends or turns over.
	writing sync.Mutex
	month   string    // of the newest file
	retry   time.Time // before which no turn is tried
	marked  uint64    // number of the last checkpoint's entry, or where counting began
	when    time.Time // of that
	failed  error     // a turn whose outcome is unknown

	mu    sync.RWMutex
	files []*ledger.Ledger // oldest first; the last is written
}

// Open opens the ledger whose newest file has that path, with all files before it, and makes
// an empty one if there is none. Every file is verified, and that each begins where the one
// before ends. What a crash left of a turn is tidied up. The errors are those of
// ledger.Open.
func Open(path string, opts Options) (*Set, error) {
	opts.complete()
	s := &Set{path: path, opts: opts}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *Set) open() error {
	newest, err := s.openNewest()
	if err != nil {
		return err
	}
	s.files = []*ledger.Ledger{newest}
	archives, err := s.tidy()
	if err != nil {
		return fmt.Errorf("open ledger %s: %w", s.path, err)
	}
	for _, a := range archives {
		file, err := openArchive(a.path, s.opts.Options)
		if err != nil {
			return err
		}
		n := len(s.files) - 1
		s.files = append(s.files[:n:n], file, newest)
	}
	if err := joined(s.files); err != nil {
		return fmt.Errorf("open ledger %s: %w: %w", s.path, ledger.ErrCorrupt, err)
	}
	if s.id, err = newest.ID(); err != nil {
		return err
	}
	if s.month, err = monthOf(newest); err != nil {
		return err
	}
	if err := s.share(); err != nil {
		return err
	}
	return s.mark(newest)
}

// joined tells whether each file begins where the one before ends.
func joined(files []*ledger.Ledger) error {
	for i, f := range files {
		month, base, err := f.Segment()
		switch {
		case err != nil:
			return err
		case base > 0 && month == "":
			return fmt.Errorf("%s begins with entry %d, which is no SEGMENT_START: restore a copy", f.Path(), base+1)
		case i == 0:
			continue
		}
		if err := f.Follows(files[i-1]); err != nil {
			return fmt.Errorf("%s does not follow %s: %w; put the file in its place that belongs there, and one that does not elsewhere", f.Path(), files[i-1].Path(), err)
		}
	}
	return nil
}

// share gives the newest file what the others leave of MaxBytes.
func (s *Set) share() error {
	most := s.opts.MaxBytes
	if most <= 0 {
		return nil
	}
	for _, f := range s.files[:len(s.files)-1] {
		n, err := f.Bytes()
		if err != nil {
			return err
		}
		most -= n
	}
	s.newest().Limit(max(most, 1))
	return nil
}

// Close releases all files.
func (s *Set) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.close()
}

func (s *Set) close() (err error) {
	for _, f := range s.all() {
		err = errors.Join(err, f.Close())
	}
	return err
}

// all files, oldest first.
func (s *Set) all() []*ledger.Ledger {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.files
}

func (s *Set) newest() *ledger.Ledger {
	files := s.all()
	return files[len(files)-1]
}

// Append is ledger.Ledger's, over all files. The first of a month turns over before.
func (s *Set) Append(e ledger.Entry) (ledger.Entry, error) {
	out, err := s.AppendAll([]ledger.Entry{e})
	if err != nil {
		return ledger.Entry{}, err
	}
	return out[0], nil
}

// AppendAll is ledger.Ledger's, over all files.
func (s *Set) AppendAll(entries []ledger.Entry) ([]ledger.Entry, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	newest, err := s.ready()
	if err != nil {
		return nil, err
	}
	out := make([]ledger.Entry, len(entries))
	fresh := make([]ledger.Entry, 0, len(entries))
	at := make([]int, 0, len(entries))
	for i := range entries {
		first, found, err := s.earlier(&entries[i])
		switch {
		case err != nil:
			return nil, err
		case found:
			out[i] = first
		default:
			fresh, at = append(fresh, entries[i]), append(at, i)
		}
	}
	var written []ledger.Entry
	switch len(fresh) {
	case 0:
		return out, nil
	case 1:
		written = make([]ledger.Entry, 1)
		written[0], err = newest.Append(fresh[0])
	default:
		written, err = newest.AppendAll(fresh)
	}
	if err != nil {
		return nil, err
	}
	for i := range written {
		out[at[i]] = written[i]
	}
	s.counted(newest)
	return out, nil
}

// Amend is Append for a tool: it writes to the newest file as it is, and neither turns over
// nor writes a checkpoint, for which a broker has the key to sign with.
func (s *Set) Amend(e ledger.Entry) (ledger.Entry, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if first, found, err := s.earlier(&e); found || err != nil {
		return first, err
	}
	return s.newest().Append(e)
}

// earlier looks an operation up in the files before the newest, and refuses to open a loan
// that was closed in one of them.
func (s *Set) earlier(e *ledger.Entry) (first ledger.Entry, found bool, err error) {
	files := s.all()
	for i := len(files) - 2; i >= 0; i-- {
		if first, found, err = files[i].Operation(*e); found || err != nil {
			return first, found, err
		}
	}
	if e.Kind != ledger.LendIntent && e.Kind != ledger.Recovered {
		return first, false, nil
	}
	for i := len(files) - 1; i >= 0; i-- {
		after, err := files[i].Left(e.Loan)
		switch {
		case err != nil:
			return first, false, err
		case after == ledger.Closed && i < len(files)-1: // the newest decides itself
			return first, false, fmt.Errorf("%w: loan %s is %s, which %s does not follow", ledger.ErrTransition, e.Loan, after, e.Kind)
		case after != ledger.Unknown:
			return first, false, nil
		}
	}
	return first, false, nil
}

// ready is the file to write to.
func (s *Set) ready() (*ledger.Ledger, error) {
	if s.failed != nil {
		return nil, s.failed
	}
	now := s.opts.Clock.Now()
	month := now.UTC().Format(monthForm)
	if month <= s.month || now.Before(s.retry) {
		return s.newest(), nil
	}
	if err := s.begin(month); err != nil {
		if s.failed != nil {
			return nil, s.failed
		}
		s.retry = now.Add(turnRetry)
		s.opts.Failed(fmt.Errorf("the ledger's file of %s is written on, and the next is tried again in %s: %w", s.month, turnRetry, err))
	}
	return s.newest(), nil
}
