package ledger

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of an entry. They keep one record small against the file and make
// overflow of a balance impossible in practice.
const (
	MaxNameBytes    = 512       // every name, id and reason
	MaxMessageBytes = 32 << 10  // Message
	MaxPayloadBytes = 256 << 10 // Payload
	MaxGrants       = 1024
	MaxSignals      = 1024
	MaxCount        = 1 << 16 // units in one grant
)

// Hash is a SHA-256 sum; its text form is lower-case hex.
type Hash [32]byte

// String is the hash in hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText is String.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads 64 hex digits.
func (h *Hash) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(h) {
		return fmt.Errorf("hash has %d hex digits, want %d", len(text), 2*len(h))
	}
	if _, err := hex.Decode(h[:], text); err != nil {
		return fmt.Errorf("read hash: %w", err)
	}
	return nil
}

// Grant is a number of units of one flavor on one node, as in a Loan's spec.
type Grant struct {
	// Lender is the LendingPolicy (namespace/name) that owns the units; empty for
	// the borrower's own nominal quota, which moves no balance.
	Lender string `json:"lender,omitempty"`
	Node   string `json:"node"`
	Flavor string `json:"flavor"`
	// Count of units, 1 to MaxCount.
	Count int64 `json:"count"`
}

// Value is one signal as the verdict saw it. NaN and infinities are kept, and
// written to JSON as strings: an unknown signal must not turn into a 0.
type Value struct {
	Name  string
	Value float64
}

type jsonValue struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
}

// MarshalJSON writes {"name":…,"value":…}.
func (v Value) MarshalJSON() ([]byte, error) {
	number := strconv.FormatFloat(v.Value, 'g', -1, 64)
	if math.IsNaN(v.Value) || math.IsInf(v.Value, 0) {
		number = strconv.Quote(number)
	}
	return json.Marshal(jsonValue{v.Name, json.RawMessage(number)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *Value) UnmarshalJSON(data []byte) error {
	var raw jsonValue
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	number, err := strconv.ParseFloat(strings.Trim(string(raw.Value), `"`), 64)
	if err != nil {
		return fmt.Errorf("read signal %s: %w", raw.Name, err)
	}
	v.Name, v.Value = raw.Name, number
	return nil
}

// Entry is one record. Append fills in Seq, PrevHash and Hash, and the fields
// whose comment says so; everything else is the caller's. An entry that was
// read from a ledger is never changed afterwards.
type Entry struct {
	// Seq counts from 1 without gaps.
	Seq uint64 `json:"seq"`
	// Time is the wall clock in UTC when the entry was written. Zero: filled in
	// from Options.Clock.
	Time time.Time `json:"time"`
	// At is when the thing happened, if it was noticed later than that: the
	// creation of a recovered loan, the end of a job while no broker ran. Zero: at
	// Time. Accounts use it, but never past Time.
	At time.Time `json:"at,omitzero"`
	// MonoNS is a monotonic clock whose origin BootID names: one process of one
	// boot. Durations between two entries of the same BootID come from it, so a
	// step of the wall clock bills nobody. Both empty: filled in.
	MonoNS int64  `json:"monoNS"`
	BootID string `json:"bootID"`
	// Epoch of the leader that wrote the entry; it never falls.
	Epoch int64 `json:"epoch"`
	Kind  Kind  `json:"kind"`
	// OpID identifies the operation. It is unique per Kind: see Append.
	OpID string `json:"opID"`
	// Loan and Job are namespace/name. Job, JobUID, Borrower and Grants are
	// required where a loan opens (LEND_INTENT, RECOVERED) and filled in after. Grants
	// are required for SHED and SHED_LOST: what the loan still holds.
	Loan     string  `json:"loan,omitempty"`
	Job      string  `json:"job,omitempty"`
	JobUID   string  `json:"jobUID,omitempty"`
	Borrower string  `json:"borrower,omitempty"`
	Grants   []Grant `json:"grants,omitempty"`
	// Reason is CamelCase; Message is for people; Signals are the values behind
	// the verdict, sorted by name by Append.
	Reason  string  `json:"reason,omitempty"`
	Message string  `json:"message,omitempty"`
	Signals []Value `json:"signals,omitempty"`
	// ReclaimID is shared by all loans that one decision took back. It is filled
	// in from RECLAIM_INTENT on the entries that follow it.
	ReclaimID string `json:"reclaimID,omitempty"`
	// Corrects is the Seq that a CORRECTION is about.
	Corrects uint64 `json:"corrects,omitempty"`
	// Payload is any further JSON, e.g. the shapes owed. Append compacts it. A reshape's
	// entries need one: what is made of what.
	Payload json.RawMessage `json:"payload,omitempty"`

	PrevHash Hash `json:"prevHash"`
	Hash     Hash `json:"hash"`
}

func invalid(field, rule string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrInvalid, field, fmt.Sprintf(rule, args...))
}

// normalise returns a copy that shares nothing with e, sorted and compacted, or
// ErrInvalid. What a loan's earlier entries must say is not checked here.
func normalise(e Entry) (Entry, error) {
	if !e.Kind.known() {
		return e, invalid("kind", "%d is not known", uint8(e.Kind))
	}
	if e.OpID == "" {
		return e, invalid("opID", "is required")
	}
	if e.Epoch < 0 {
		return e, invalid("epoch", "%d is negative", e.Epoch)
	}
	if err := checkTexts(&e); err != nil {
		return e, err
	}
	if err := checkTimes(&e); err != nil {
		return e, err
	}
	var err error
	if e.Grants, err = normaliseGrants(e.Grants); err != nil {
		return e, err
	}
	if e.Signals, err = normaliseSignals(e.Signals); err != nil {
		return e, err
	}
	if e.Payload, err = normalisePayload(e.Payload); err != nil {
		return e, err
	}
	if opens(e.Kind) {
		if _, err := readLenders(e.Payload); err != nil {
			return e, err
		}
	}
	return e, checkKind(&e)
}

func checkTexts(e *Entry) error {
	for _, f := range []struct{ name, text string }{
		{"bootID", e.BootID}, {"opID", e.OpID}, {"loan", e.Loan}, {"job", e.Job},
		{"jobUID", e.JobUID}, {"borrower", e.Borrower}, {"reason", e.Reason},
		{"reclaimID", e.ReclaimID},
	} {
		if err := checkName(f.name, f.text); err != nil {
			return err
		}
	}
	if len(e.Message) > MaxMessageBytes {
		return invalid("message", "%d bytes are more than %d", len(e.Message), MaxMessageBytes)
	}
	if !utf8.ValidString(e.Message) {
		return invalid("message", "is not UTF-8")
	}
	return nil
}

// checkName also keeps 0x00 out, which separates names from sequence numbers in
// the keys of indexes.
func checkName(field, text string) error {
	if len(text) > MaxNameBytes {
		return invalid(field, "%d bytes are more than %d", len(text), MaxNameBytes)
	}
	if !utf8.ValidString(text) {
		return invalid(field, "is not UTF-8")
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		return invalid(field, "has a control character at byte %d", i)
	}
	return nil
}

func checkTimes(e *Entry) error {
	for _, f := range []struct {
		name string
		at   *time.Time
	}{{"time", &e.Time}, {"at", &e.At}} {
		if f.at.IsZero() {
			continue
		}
		if err := checkYear(f.name, *f.at); err != nil {
			return err
		}
		*f.at = time.Unix(0, f.at.UnixNano()).UTC()
	}
	if e.MonoNS < 0 {
		return invalid("monoNS", "%d is negative", e.MonoNS)
	}
	if e.BootID == "" && e.MonoNS != 0 {
		return invalid("monoNS", "needs a bootID")
	}
	return nil
}

func checkYear(field string, t time.Time) error {
	if y := t.Year(); !t.IsZero() && (y < 1971 || y > 2261) {
		return invalid(field, "year %d is outside 1971 to 2261", y)
	}
	return nil
}

func normaliseGrants(in []Grant) ([]Grant, error) {
	if len(in) == 0 {
		return nil, nil
	}
	if len(in) > MaxGrants {
		return nil, invalid("grants", "%d are more than %d", len(in), MaxGrants)
	}
	for i, g := range in {
		at := fmt.Sprintf("grants[%d]", i)
		if g.Node == "" || g.Flavor == "" {
			return nil, invalid(at, "node and flavor are required")
		}
		if g.Count < 1 || g.Count > MaxCount {
			return nil, invalid(at+".count", "%d is outside 1 to %d", g.Count, MaxCount)
		}
		for _, text := range []string{g.Lender, g.Node, g.Flavor} {
			if err := checkName(at, text); err != nil {
				return nil, err
			}
		}
	}
	out := slices.Clone(in)
	slices.SortStableFunc(out, compareGrants)
	return out, nil
}

func compareGrants(a, b Grant) int {
	return cmp.Or(cmp.Compare(a.Lender, b.Lender), cmp.Compare(a.Node, b.Node),
		cmp.Compare(a.Flavor, b.Flavor), cmp.Compare(a.Count, b.Count))
}

func normaliseSignals(in []Value) ([]Value, error) {
	if len(in) == 0 {
		return nil, nil
	}
	if len(in) > MaxSignals {
		return nil, invalid("signals", "%d are more than %d", len(in), MaxSignals)
	}
	out := slices.Clone(in)
	slices.SortFunc(out, func(a, b Value) int { return cmp.Compare(a.Name, b.Name) })
	for i, v := range out {
		if v.Name == "" {
			return nil, invalid("signals", "a name is empty")
		}
		if err := checkName("signals", v.Name); err != nil {
			return nil, err
		}
		if i > 0 && out[i-1].Name == v.Name {
			return nil, invalid("signals", "%s appears twice", v.Name)
		}
		if math.IsNaN(v.Value) {
			out[i].Value = math.NaN()
		}
	}
	return out, nil
}

func normalisePayload(in json.RawMessage) (json.RawMessage, error) {
	if len(in) == 0 {
		return nil, nil
	}
	if len(in) > MaxPayloadBytes {
		return nil, invalid("payload", "%d bytes are more than %d", len(in), MaxPayloadBytes)
	}
	if !utf8.Valid(in) {
		return nil, invalid("payload", "is not UTF-8")
	}
	var out bytes.Buffer
	if err := json.Compact(&out, in); err != nil {
		return nil, invalid("payload", "is not JSON: %v", err)
	}
	return out.Bytes(), nil
}

// checkKind checks which fields the kind needs and refuses.
func checkKind(e *Entry) error {
	type field struct {
		name    string
		present bool
	}
	loan, job, uid := field{"loan", e.Loan != ""}, field{"job", e.Job != ""}, field{"jobUID", e.JobUID != ""}
	borrower, grants := field{"borrower", e.Borrower != ""}, field{"grants", len(e.Grants) > 0}
	corrects, message := field{"corrects", e.Corrects != 0}, field{"message", e.Message != ""}
	payload := field{"payload", len(e.Payload) > 0}

	var need, refuse []field
	switch e.Kind {
	case EpochStart:
		refuse = []field{loan, job, uid, borrower, grants, corrects}
	case LendIntent, Recovered:
		need, refuse = []field{loan, job, uid, borrower, grants}, []field{corrects}
	case Refused:
		need, refuse = []field{job, borrower}, []field{corrects}
	case Correction:
		need = []field{corrects, message}
	case ReshapeIntent, ReshapeDone, ReshapeUndone, ReshapeFailed:
		need, refuse = []field{payload}, []field{loan, grants, corrects}
	case Gap, Checkpoint, SegmentStart, Carried:
		need, refuse = []field{payload}, []field{loan, job, uid, borrower, grants, corrects}
	case PolicyMissing, PolicyBack:
		refuse = []field{loan, job, uid, borrower, grants, corrects}
	case Shed, ShedLost:
		need, refuse = []field{loan, grants}, []field{corrects}
	default:
		need, refuse = []field{loan}, []field{corrects}
	}
	for _, f := range need {
		if !f.present {
			return invalid(f.name, "is required for %s", e.Kind)
		}
	}
	for _, f := range refuse {
		if f.present {
			return invalid(f.name, "is not allowed for %s", e.Kind)
		}
	}
	return nil
}
