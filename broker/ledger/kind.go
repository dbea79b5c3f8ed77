package ledger

import (
	"fmt"
	"slices"
)

// Kind says what an entry records. The numbers are part of the file format and
// are never reused.
type Kind uint8

// The kinds. Loan states are described at LoanState.
const (
	// EpochStart is the first entry of a leader.
	EpochStart Kind = 1
	// LendIntent: units are about to be lent; written before anything else is done.
	LendIntent Kind = 2
	// LendGranted: the loan took effect; its time starts to count.
	LendGranted Kind = 3
	// LendAborted: the intent came to nothing.
	LendAborted Kind = 4
	// ReclaimIntent: the units are about to be asked back.
	ReclaimIntent Kind = 5
	// ReclaimDone: reclaimed units are proven free.
	ReclaimDone Kind = 6
	// Released: the job ended by itself.
	Released Kind = 7
	// Preempted: the scheduler took the units back for an online pod.
	Preempted Kind = 8
	// Lost: the node or device went away under the loan.
	Lost Kind = 9
	// Recovered: a loan found in the API of which the ledger knew nothing.
	Recovered Kind = 10
	// Refused: a job was not given units, and why. It changes no state.
	Refused Kind = 11
	// Correction: a remark on an earlier entry, which itself stays as it is. It
	// changes no state, and only the balances that its CorrectionPayload names.
	Correction Kind = 12
	// Shed: an elastic job gave units back and goes on with the grants that the entry
	// states.
	Shed Kind = 13
	// ShedIntent: an elastic job is about to be asked for a part of its units. It changes
	// no state.
	ShedIntent Kind = 14
	// Stopped: who holds what was asked back has been told to stop. It changes no state.
	Stopped Kind = 15
	// Killed: the time was over, and what was left is killed. It changes no state.
	Killed Kind = 16
	// ShedLost: what an elastic job was asked for went away with its node; it goes on with
	// the grants that the entry states.
	ShedLost Kind = 17
	// ReshapeIntent: a GPU in MIG mode is about to be cut anew. It and the three that
	// follow it are about no loan: their OpID is the reshape's ID.
	ReshapeIntent Kind = 18
	// ReshapeDone: what was to be made is there.
	ReshapeDone Kind = 19
	// ReshapeUndone: what was there before is there again.
	ReshapeUndone Kind = 20
	// ReshapeFailed: nothing came of it, or nobody can say what did.
	ReshapeFailed Kind = 21
	// Gap: numbers that were published or carried elsewhere are in no file: GapPayload.
	// It, the three that follow it, PolicyMissing and PolicyBack are about no loan.
	Gap Kind = 22
	// Checkpoint: what the head was, to be compared with elsewhere: CheckpointPayload.
	Checkpoint Kind = 23
	// SegmentStart is the first of a file that goes on where another ended: SegmentPayload.
	SegmentStart Kind = 24
	// Carried: one loan, reshape or balance that was open at the end of the file before,
	// in CarriedPayload.
	Carried Kind = 25
	// Quarantined: the loan's units do not come free although its pods should be gone. From
	// here on their time is not the borrower's.
	Quarantined Kind = 26
	// Unquarantined: they are proven free, or an administrator says so.
	Unquarantined Kind = 27
	// PolicyMissing: an admission policy is gone or was changed. It changes no state.
	PolicyMissing Kind = 28
	// PolicyBack: all are there again. It changes no state.
	PolicyBack Kind = 29

	lastKind = PolicyBack
)

var kindNames = [...]string{
	EpochStart:    "EPOCH_START",
	LendIntent:    "LEND_INTENT",
	LendGranted:   "LEND_GRANTED",
	LendAborted:   "LEND_ABORTED",
	ReclaimIntent: "RECLAIM_INTENT",
	ReclaimDone:   "RECLAIM_DONE",
	Released:      "RELEASED",
	Preempted:     "PREEMPTED",
	Lost:          "LOST",
	Recovered:     "RECOVERED",
	Refused:       "REFUSED",
	Correction:    "CORRECTION",
	Shed:          "SHED",
	ShedIntent:    "SHED_INTENT",
	Stopped:       "STOPPED",
	Killed:        "KILLED",
	ShedLost:      "SHED_LOST",
	ReshapeIntent: "RESHAPE_INTENT",
	ReshapeDone:   "RESHAPE_DONE",
	ReshapeUndone: "RESHAPE_UNDONE",
	ReshapeFailed: "RESHAPE_FAILED",
	Gap:           "GAP",
	Checkpoint:    "CHECKPOINT",
	SegmentStart:  "SEGMENT_START",
	Carried:       "CARRIED",
	Quarantined:   "QUARANTINED",
	Unquarantined: "UNQUARANTINED",
	PolicyMissing: "POLICY_MISSING",
	PolicyBack:    "POLICY_BACK",
}

func (k Kind) known() bool { return k >= EpochStart && k <= lastKind }

// Kinds are all known kinds in the order of their numbers.
func Kinds() []Kind {
	all := make([]Kind, 0, lastKind)
	for k := EpochStart; k <= lastKind; k++ {
		all = append(all, k)
	}
	return all
}

// String is the kind's name in exports, e.g. LEND_INTENT.
func (k Kind) String() string {
	if k.known() {
		return kindNames[k]
	}
	return fmt.Sprintf("KIND_%d", uint8(k))
}

// Sheds tells whether an entry of the kind makes its loan smaller, to the grants that it
// states.
func (k Kind) Sheds() bool { return k == Shed || k == ShedLost }

// opens tells whether an entry of the kind makes its loan.
func opens(k Kind) bool { return k == LendIntent || k == Recovered }

// Closes tells whether an entry of the kind ends its loan.
func (k Kind) Closes() bool { return transitions[k].to == Closed }

// MarshalText is String; it fails for an unknown kind.
func (k Kind) MarshalText() ([]byte, error) {
	if !k.known() {
		return nil, fmt.Errorf("kind %d is not known", uint8(k))
	}
	return []byte(k.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (k *Kind) UnmarshalText(text []byte) error {
	if i := slices.Index(kindNames[:], string(text)); i > 0 {
		*k = Kind(i)
		return nil
	}
	return fmt.Errorf("kind %q is not known", text)
}
