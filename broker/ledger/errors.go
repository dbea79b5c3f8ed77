package ledger

import (
	"errors"
	"fmt"
)

// Errors about the file. None of them is cured by editing the file: each text
// that wraps one says what to do.
var (
	// ErrLocked: another process has the ledger open.
	ErrLocked = errors.New("ledger is locked by another process")
	// ErrTruncated: the file is shorter than its own header says.
	ErrTruncated = errors.New("ledger file is truncated")
	// ErrCorrupt: the log, or the file around it, is damaged. Recover cures one kind
	// of it, a lost header; all others need a copy.
	ErrCorrupt = errors.New("ledger is damaged")
	// ErrDerived: the log is sound, but an index or a balance disagrees with it.
	// Reindex cures it.
	ErrDerived = errors.New("ledger indexes disagree with the log")
	// ErrNewerSchema: a newer release wrote the file.
	ErrNewerSchema = errors.New("ledger was written by a newer release")
	// ErrOtherCluster: the file belongs to another cluster.
	ErrOtherCluster = errors.New("ledger belongs to another cluster")
)

// Errors of Append. After any of the first group nothing was written and the
// ledger stays usable.
var (
	// ErrInvalid: a field of the entry breaks a rule; the text names both.
	ErrInvalid = errors.New("invalid ledger entry")
	// ErrStaleEpoch: the entry's epoch is lower than one already recorded: a newer
	// leader has written. The caller must stop.
	ErrStaleEpoch = errors.New("stale epoch")
	// ErrOpenLoan: the job already has an open loan.
	ErrOpenLoan = errors.New("job already has an open loan")
	// ErrTransition: the loan's state does not allow this kind of entry.
	ErrTransition = errors.New("invalid loan transition")
	// ErrOpReused: the operation id and kind are taken by an entry about
	// something else.
	ErrOpReused = errors.New("operation id reused")
	// ErrFull: the file has reached Options.MaxBytes; only new loans and reshapes are refused.
	ErrFull = errors.New("ledger is full")

	// ErrUnknownOutcome: a commit failed, and whether its entry is on disk cannot
	// be known from inside this process. Every later call fails with it too: exit,
	// open again, and repeat the operation with the same OpID.
	ErrUnknownOutcome = errors.New("outcome of a ledger commit is unknown")
	// ErrClosed: the ledger was closed.
	ErrClosed = errors.New("ledger is closed")
)

// errLostHeader is the ErrCorrupt that Recover cures.
var errLostHeader = fmt.Errorf("%w", ErrCorrupt)

// What to do, appended to the errors of a file.
const (
	adviceRestore = "restore a copy, never edit the file: stop the broker, keep this file aside, put the newest copy that passes \"ebbtide-broker ledger check\" in its place, and start the broker; loans missing from the copy are recorded as RECOVERED"
	adviceReindex = "the log itself is sound: stop the broker and run \"ebbtide-broker ledger reindex FILE\""
	adviceRecover = "find the highest sequence number known elsewhere (status.ledgerSeq of the Loans), stop the broker and run \"ebbtide-broker ledger recover FILE --known SEQ\", which refuses if that entry is gone; then restore a copy"
	adviceNewer   = "start the release that wrote it or a later one; nothing was changed"
)
