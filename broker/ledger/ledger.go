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

	commit func(*bolt.Tx) error // tests make commits fail
}

// Ledger is an open ledger. All methods may be called from any goroutine.
type Ledger struct {
	path  string
	opts  Options
	info  os.FileInfo
	db    *bolt.DB
	start time.Time // origin of the monotonic clock

	mu     sync.RWMutex // held across a commit, so memory and file agree
	state  *state
	failed error // set for good by an unknown outcome or Close
}

// Open opens the ledger at path and makes an empty one if there is no file. It
// returns only after every page, checksum, hash, index and balance was verified,
// about five seconds for each million entries. The errors are ErrLocked,
// ErrTruncated, ErrCorrupt, ErrDerived, ErrNewerSchema and ErrOtherCluster, with
// what to do in the text. Open never repairs anything.
//
// While the Ledger is open no other process can open the file. The file must be
// on a local disk: locks and memory maps do not work over a network file system.
func Open(path string, opts Options) (*Ledger, error) {
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
	if err := checkName("bootID", opts.BootID); err != nil {
		return nil, err
	}
	l := &Ledger{path: path, opts: opts, start: opts.Clock.Now()}
	if err := createIfMissing(path, newIdentity(opts.ClusterUID, l.start)); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	file, faults, err := openBolt(path, openParams{timeout: opts.Timeout})
	if err != nil {
		return nil, err
	}
	report := &Report{Path: path}
	report.add(faults...)
	if len(faults) > 0 {
		return nil, report.Err()
	}
	l.db, l.info = file.db, file.info
	if err := l.load(report); err != nil {
		return nil, errors.Join(err, file.db.Close())
	}
	return l, nil
}

// load verifies the file and takes its state over.
func (l *Ledger) load(report *Report) error {
	st, err := verifyAll(l.db, report)
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
	l.state = st
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
	return l.appendNew(tx, e)
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

func (l *Ledger) appendNew(tx *bolt.Tx, e Entry) (Entry, error) {
	l.stamp(&e)
	c, err := l.state.plan(&e, wasClosed(tx, e.Loan))
	if err != nil {
		return Entry{}, err
	}
	if (e.Kind == LendIntent || e.Kind == ReshapeIntent) && l.opts.MaxBytes > 0 && tx.Size() >= l.opts.MaxBytes {
		return Entry{}, fmt.Errorf("%w: %d bytes of %d are used: no new loans and reshapes; make room on the volume and raise ledger.maxBytes in the BrokerConfiguration",
			ErrFull, tx.Size(), l.opts.MaxBytes)
	}
	e.Seq, e.PrevHash = l.state.seq+1, l.state.hash
	raw, hash := encode(&e)
	e.Hash = hash
	if err := writeRecord(tx, l.state, &e, raw, c); err != nil {
		return Entry{}, fmt.Errorf("append %s: %w", e.Kind, err)
	}
	if err := l.opts.commit(tx); err != nil {
		l.failed = fmt.Errorf("%w: commit of entry %d (%s, operation %s): %w; stop this process and start it again: the file then tells, and a repeated operation is written once",
			ErrUnknownOutcome, e.Seq, e.Kind, e.OpID, err)
		return Entry{}, l.failed
	}
	l.state.apply(&e, c)
	return e, nil
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
	out := *loan
	out.Grants = slices.Clone(out.Grants)
	return out, true
}
