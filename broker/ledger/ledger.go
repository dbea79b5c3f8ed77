package ledger

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	"k8s.io/utils/clock"
)

// DefaultTimeout is how long Open and Check wait for another process to let go
// of the file.
const DefaultTimeout = 5 * time.Second

// Options of Open. The zero value is usable.
type Options struct {
	// Timeout to wait for the lock; 0 means DefaultTimeout.
	Timeout time.Duration
	// ClusterUID binds a new file to a cluster. An existing file made for another
	// one is refused with ErrOtherCluster. Empty: not compared.
	ClusterUID string
	// Clock stamps entries that bring no time of their own; nil means the real one.
	Clock clock.PassiveClock
	// BootID names the origin of the monotonic clock. Empty: a random one for this
	// Ledger, which is what a process wants.
	BootID string
	// MaxBytes refuses new loans (ErrFull) once the file holds that much. Entries
	// that give units back are always let through. 0 means no limit.
	MaxBytes int64
	// Ballast is the size of a file beside the ledger, BallastName, that takes room while
	// there is some. When the disk is full it is removed, so that entries that give units
	// back can be written after a restart; while it is missing and there is no room to
	// make it again, new loans are refused (ErrFull). 0 means none.
	Ballast int64

	// Trace, if set, is told of each row that is written, and of each that is removed (a nil
	// value), before its transaction is committed. It is for measurements, and must keep
	// none of what it is given.
	Trace func(bucket, key, value []byte)

	commit func(*bolt.Tx) error            // tests make commits fail
	free   func(dir string) (int64, error) // and disks full
}

// Ledger is an open ledger. All methods may be called from any goroutine.
type Ledger struct {
	path  string
	opts  Options
	info  os.FileInfo
	db    *bolt.DB
	start time.Time // origin of the monotonic clock
	// opened is what was found when the file was opened.
	opened *Report

	mu      sync.RWMutex // held across a commit, so memory and file agree
	state   *state
	failed  error // set for good by an unknown outcome or Close
	retired bool  // written no more
}

// Open opens the ledger at path and makes an empty one if there is no file. It
// returns only after every page, checksum, hash, index and balance was verified,
// a second or two for each million entries. A file of an older schema is migrated first,
// and kept as OldName. The errors are ErrLocked,
// ErrTruncated, ErrCorrupt, ErrDerived, ErrNewerSchema and ErrOtherCluster, with
// what to do in the text. Open never repairs anything.
//
// While the Ledger is open no other process can open the file. The file must be
// on a local disk: locks and memory maps do not work over a network file system.
func Open(path string, opts Options) (*Ledger, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	l := &Ledger{path: path, opts: opts, start: opts.Clock.Now()}
	if err := createIfMissing(path, newIdentity(opts.ClusterUID, l.start)); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	file, err := openCurrent(path, opts.Timeout)
	if err != nil {
		return nil, err
	}
	report := &Report{Path: path}
	l.db, l.info = file.db, file.info
	if err := l.load(report); err != nil {
		return nil, errors.Join(err, file.db.Close())
	}
	if opts.Ballast > 0 {
		_ = l.keepBallast() // without it nothing is lent, which says why
	}
	return l, nil
}

// complete fills in what is not set.
func (opts *Options) complete() error {
	if opts.Timeout <= 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.BootID == "" {
		opts.BootID = randomID()
	}
	if opts.commit == nil {
		opts.commit = (*bolt.Tx).Commit
	}
	if opts.free == nil {
		opts.free = freeBytes
	}
	return checkName("bootID", opts.BootID)
}

// load verifies the file and takes its state over.
func (l *Ledger) load(report *Report) error {
	st, err := verifyContent(l.db, report)
	if err != nil {
		return fmt.Errorf("open ledger %s: %w", l.path, err)
	}
	if err := report.Err(); err != nil {
		return err
	}
	if want := l.opts.ClusterUID; want != "" && report.ClusterUID != "" && want != report.ClusterUID {
		return fmt.Errorf("open ledger %s: %w: it was made for %s and this is %s; give this broker its own volume",
			l.path, ErrOtherCluster, report.ClusterUID, want)
	}
	l.state, l.opened = st, report
	return nil
}

func randomID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Close releases the file. Every later call fails with ErrClosed.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(l.failed, ErrClosed) {
		return nil
	}
	l.failed = ErrClosed
	if err := l.db.Close(); err != nil {
		return fmt.Errorf("close ledger %s: %w", l.path, err)
	}
	return nil
}

// Append writes one entry and returns it as written, after it is on disk. It
// assigns Seq, PrevHash and Hash, and fills in Time, MonoNS, BootID and, for a
// loan that is open already, what its first entry said.
//
// The pair of OpID and Kind is unique: an entry whose pair is taken is not
// written, and Append returns the first one unchanged, whatever else the second
// says, so that a caller may repeat an operation after a crash. Only if it is
// about another loan, job or entry, the error is ErrOpReused: one operation on
// several loans needs an OpID for each (ReclaimID ties them together).
//
// Otherwise errors are ErrInvalid, ErrStaleEpoch, ErrOpenLoan, ErrTransition and
// ErrFull, after which nothing was written and the ledger is as before. If the
// commit itself fails the entry may or may not be on disk: ErrUnknownOutcome,
// now and for every later call.
func (l *Ledger) Append(e Entry) (Entry, error) {
	e, err := normalise(e)
	if err != nil {
		return Entry{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return Entry{}, l.failed
	}
	tx, err := l.db.Begin(true)
	if err != nil {
		return Entry{}, fmt.Errorf("append %s: %w", e.Kind, err)
	}
	// After a commit this does nothing.
	defer func() { _ = tx.Rollback() }()

	first, found, err := findOp(tx, e.OpID, e.Kind)
	if err != nil {
		return Entry{}, fmt.Errorf("append %s: %w", e.Kind, err)
	}
	if found {
		return first, sameSubject(&first, &e)
	}
	e, c, err := l.write(tx, e)
	if err != nil {
		return Entry{}, err
	}
	if err := l.commit(tx, &e); err != nil {
		return Entry{}, err
	}
	l.state.apply(&e, c)
	return e, nil
}

// sameSubject guards against an OpID that was used for something else.
func sameSubject(first, second *Entry) error {
	if first.Loan == second.Loan && first.Corrects == second.Corrects &&
		(second.Job == "" || first.Job == second.Job) && (second.JobUID == "" || first.JobUID == second.JobUID) {
		return nil
	}
	return fmt.Errorf("%w: %s of operation %s is entry %d about loan %q, job %q; this one is about loan %q, job %q",
		ErrOpReused, first.Kind, first.OpID, first.Seq, first.Loan, first.Job, second.Loan, second.Job)
}

// write puts a new entry into the transaction, and returns it with what it changes.
func (l *Ledger) write(tx *bolt.Tx, e Entry) (Entry, *change, error) {
	if l.retired {
		return Entry{}, nil, fmt.Errorf("append %s: %w", e.Kind, errRetired)
	}
	l.stamp(&e)
	c, err := l.state.plan(&e, wasClosed(tx, e.Loan))
	if err != nil {
		return Entry{}, nil, err
	}
	if e.Kind == LendIntent || e.Kind == ReshapeIntent {
		if err := l.full(tx.Size()); err != nil {
			return Entry{}, nil, err
		}
	}
	e.Seq, e.PrevHash = l.state.seq+1, l.state.hash
	raw, hash := encode(&e)
	e.Hash = hash
	if err := (puts{tx, l.opts.Trace}).record(l.state, &e, raw, c); err != nil {
		return Entry{}, nil, fmt.Errorf("append %s: %w", e.Kind, err)
	}
	e.Grants = slices.Clone(e.Grants) // those of the loan
	return e, c, nil
}

// commit makes the transaction durable; last is its last entry.
func (l *Ledger) commit(tx *bolt.Tx, last *Entry) error {
	if err := l.opts.commit(tx); err != nil {
		if diskFull(err) && l.opts.Ballast > 0 {
			err = errors.Join(err, os.Remove(BallastName(l.path)))
		}
		l.failed = fmt.Errorf("%w: commit of entry %d (%s, operation %s): %w; stop this process and start it again: the file then tells, and a repeated operation is written once",
			ErrUnknownOutcome, last.Seq, last.Kind, last.OpID, err)
		return l.failed
	}
	return nil
}

func (l *Ledger) stamp(e *Entry) {
	if e.Time.IsZero() {
		e.Time = time.Unix(0, l.opts.Clock.Now().UnixNano()).UTC()
	}
	if e.BootID == "" {
		e.BootID, e.MonoNS = l.opts.BootID, max(0, int64(l.opts.Clock.Since(l.start)))
	}
}

// Head is the last entry's Seq and Hash. An empty ledger has 0 and the hash that
// its first entry will follow.
func (l *Ledger) Head() (uint64, Hash) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.seq, l.state.hash
}

// Epoch is the highest epoch recorded.
func (l *Ledger) Epoch() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.epoch
}

// OpenLoans are the loans that hold units, in the order of their names.
func (l *Ledger) OpenLoans() []OpenLoan {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.openLoans()
}

// OpenReshapes are the changes of GPUs' layouts that are not over, in the order of their
// IDs.
func (l *Ledger) OpenReshapes() []OpenReshape {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.openReshapes()
}

// Reshape is the open change of a GPU's layout with that ID.
func (l *Ledger) Reshape(id string) (OpenReshape, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	r, ok := l.state.reshapes[id]
	if !ok {
		return OpenReshape{}, false
	}
	return *r, true
}

// Loan is the open loan of that name.
func (l *Ledger) Loan(name string) (OpenLoan, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	loan, ok := l.state.open[name]
	if !ok {
		return OpenLoan{}, false
	}
	return loan.clone(), true
}
