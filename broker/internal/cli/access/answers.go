package access

import (
	"encoding/json"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// Verdict is what the broker last decided about one subject, and since when it
// has been so.
type Verdict struct {
	lend.Verdict
	Since time.Time `json:"since,omitzero"`
}

// QueuedJob is a waiting job as the broker considers it.
type QueuedJob struct {
	// Position in its queue, from 1.
	Position int `json:"position"`
	// Job and Queue are namespace/name.
	Job      string    `json:"job"`
	UID      string    `json:"uid"`
	Queue    string    `json:"queue"`
	Priority int32     `json:"priority"`
	Created  time.Time `json:"created"`
	Pods     int64     `json:"pods"`
	// UnitsPerPod of the job's flavor.
	UnitsPerPod int64     `json:"unitsPerPod"`
	Reason      string    `json:"reason"`
	Message     string    `json:"message"`
	Since       time.Time `json:"since,omitzero"`
	// EstimatedStart is zero where there is nothing to judge by.
	EstimatedStart time.Time `json:"estimatedStart,omitzero"`
}

// Head is the newest entry of the ledger.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

// LedgerPage is a run of ledger entries, each exactly as the broker sent it.
type LedgerPage struct {
	Head    Head              `json:"head"`
	Entries []json.RawMessage `json:"entries"`
	// Next is where to go on; 0 at the end.
	Next uint64 `json:"next,omitempty"`
}

// ReclaimsPage is the reclaims that a run of ledger entries asked for.
type ReclaimsPage struct {
	Head     Head             `json:"head"`
	Reclaims []course.Reclaim `json:"reclaims"`
	// Next is the entry from which to go on; 0 at the end.
	Next uint64 `json:"next,omitempty"`
}

// LedgerCheck is the outcome of a check of the whole ledger.
type LedgerCheck struct {
	OK       bool     `json:"ok"`
	Head     Head     `json:"head"`
	Problems []string `json:"problems"`
	// Notes are worth knowing, and no fault.
	Notes []string `json:"notes"`
	// ID of the ledger, and its newest checkpoint.
	ID         string                    `json:"id"`
	Checkpoint *ledger.CheckpointPayload `json:"checkpoint"`
}

// LedgerQuery selects ledger entries. Empty fields do not restrict.
type LedgerQuery struct {
	From   uint64
	Limit  int
	Loan   string // namespace/name
	Tenant string
}
