// Package town is a broker's API without a broker: a cluster that is made up, of any size,
// with a day behind it, in the JSON that the dashboard reads.
//
// It promises that equal options give equal answers to the byte, but for what was changed
// since; that its numbers agree with each other: own, lent, free and broken make the capacity
// of every node, the loans are what is lent, and the timeline has them; and that whoever
// watches hears of every change. It refuses to stand for the broker in anything but form: that
// the real one's answers have the fields that these have is a test of its own.
package town

import "time"

// Grant is a number of units on a node.
type Grant struct {
	Lender string `json:"lender,omitempty"`
	Node   string `json:"node"`
	Flavor string `json:"flavor"`
	Count  int64  `json:"count"`
}

// Loan is a row of GET /loans.
type Loan struct {
	Name         string    `json:"name"`
	Job          string    `json:"job"`
	UID          string    `json:"uid"`
	Borrower     string    `json:"borrower"`
	Queue        string    `json:"queue"`
	Priority     int32     `json:"priority"`
	Attempt      int32     `json:"attempt,omitempty"`
	Pods         int64     `json:"pods"`
	Units        int64     `json:"units"`
	State        string    `json:"state"`
	Grants       []Grant   `json:"grants"`
	Since        time.Time `json:"since"`
	Checkpoint   time.Time `json:"checkpoint"`
	GraceSeconds float64   `json:"graceSeconds"`
	ReclaimBy    time.Time `json:"reclaimBy,omitzero"`
	Reason       string    `json:"reason"`
	Message      string    `json:"message"`
	ReasonSince  time.Time `json:"reasonSince"`
	Warning      bool      `json:"warning,omitempty"`
}

// Units of one flavor.
type Units struct {
	Flavor   string `json:"flavor"`
	Capacity int64  `json:"capacity"`
	Own      int64  `json:"own"`
	Lent     int64  `json:"lent"`
	Free     int64  `json:"free"`
	Broken   int64  `json:"broken"`
	Services int64  `json:"services"`
	Training int64  `json:"training"`
	Other    int64  `json:"other"`
}

// Slice of a card.
type Slice struct {
	Profile string `json:"profile"`
	Start   int    `json:"start"`
	Size    int    `json:"size"`
	Hold    string `json:"hold"`
	Kept    bool   `json:"kept,omitempty"`
	Holder  string `json:"holder,omitempty"`
}

// Card is a GPU in MIG mode.
type Card struct {
	UUID   string  `json:"uuid"`
	Board  string  `json:"board"`
	Slots  int     `json:"slots"`
	Fixed  string  `json:"fixed,omitempty"`
	Slices []Slice `json:"slices"`
}

// Node is a row of GET /nodes.
type Node struct {
	Name        string  `json:"name"`
	Schedulable bool    `json:"schedulable"`
	Silent      bool    `json:"silent,omitempty"`
	Unlendable  string  `json:"unlendable,omitempty"`
	Units       []Units `json:"units"`
	Cards       []Card  `json:"cards,omitempty"`
}

// Lender is a row of GET /lenders.
type Lender struct {
	Name            string    `json:"name"`
	Tenant          string    `json:"tenant"`
	Flavor          string    `json:"flavor"`
	Advise          bool      `json:"advise"`
	Paused          bool      `json:"paused,omitempty"`
	Owned           int64     `json:"owned"`
	Held            int64     `json:"held"`
	Need            int64     `json:"need"`
	NeedBy          string    `json:"needBy,omitempty"`
	Headroom        int64     `json:"headroom"`
	Lent            int64     `json:"lent"`
	Lendable        int64     `json:"lendable"`
	Utilization     float64   `json:"utilization"`
	Desired         int64     `json:"desired"`
	Running         int64     `json:"running"`
	Ready           int64     `json:"ready"`
	Pending         int       `json:"pending"`
	UnitsPerPod     int64     `json:"unitsPerPod"`
	LowWater        float64   `json:"lowWater"`
	HighWater       float64   `json:"highWater"`
	DwellSeconds    float64   `json:"dwellSeconds"`
	CooldownSeconds float64   `json:"cooldownSeconds"`
	MaxGraceSeconds float64   `json:"maxGraceSeconds"`
	Recall          *Window   `json:"recall,omitempty"`
	Floors          []Window  `json:"floors,omitempty"`
	Load            Load      `json:"load"`
	Reason          string    `json:"reason"`
	Message         string    `json:"message"`
	Since           time.Time `json:"since"`
	Warning         bool      `json:"warning,omitempty"`
}

// Window is a time in which a lender keeps units.
type Window struct {
	Name  string    `json:"name"`
	Keep  int64     `json:"keep"`
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
}

// Load of a lender.
type Load struct {
	Known      bool      `json:"known"`
	Unknown    string    `json:"unknown,omitempty"`
	ObservedAt time.Time `json:"observedAt,omitzero"`
	Coverage   float64   `json:"coverage"`
	Requests   float64   `json:"requests"`
	Slots      float64   `json:"slots"`
}

// Job is a row of GET /queue.
type Job struct {
	Position       int       `json:"position"`
	Job            string    `json:"job"`
	UID            string    `json:"uid"`
	Queue          string    `json:"queue"`
	Tenant         string    `json:"tenant"`
	Priority       int32     `json:"priority"`
	Created        time.Time `json:"created"`
	Flavor         string    `json:"flavor"`
	Pods           int64     `json:"pods"`
	UnitsPerPod    int64     `json:"unitsPerPod"`
	Attempt        int32     `json:"attempt"`
	Reason         string    `json:"reason"`
	Message        string    `json:"message"`
	Since          time.Time `json:"since"`
	Warning        bool      `json:"warning,omitempty"`
	EstimatedStart time.Time `json:"estimatedStart,omitzero"`
}

// Span is a loan on the timeline.
type Span struct {
	Loan      string    `json:"loan"`
	Job       string    `json:"job"`
	Borrower  string    `json:"borrower"`
	Lenders   []string  `json:"lenders"`
	Nodes     []string  `json:"nodes"`
	Flavors   []string  `json:"flavors"`
	Units     int64     `json:"units"`
	From      time.Time `json:"from"`
	ReclaimAt time.Time `json:"reclaimAt,omitzero"`
	To        time.Time `json:"to,omitzero"`
	End       string    `json:"end,omitempty"`
	Mark      string    `json:"mark,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Message   string    `json:"message,omitempty"`
}

// LoadLine is a lender's load over time.
type LoadLine struct {
	Lender      string     `json:"lender"`
	Tenant      string     `json:"tenant"`
	Flavor      string     `json:"flavor"`
	Owned       int64      `json:"owned"`
	LowWater    float64    `json:"lowWater"`
	HighWater   float64    `json:"highWater"`
	From        time.Time  `json:"from"`
	StepSeconds float64    `json:"stepSeconds"`
	Utilization []*float64 `json:"utilization"`
	Source      string     `json:"source"`
	Note        string     `json:"note,omitempty"`
}

// QuotaUnits is a tenant's or cohort's quota of one flavor.
type QuotaUnits struct {
	Flavor         string `json:"flavor"`
	Nominal        int64  `json:"nominal"`
	Used           int64  `json:"used"`
	Available      int64  `json:"available"`
	Lent           int64  `json:"lent"`
	Borrowed       int64  `json:"borrowed"`
	BorrowingLimit *int64 `json:"borrowingLimit,omitempty"`
	LendingLimit   *int64 `json:"lendingLimit,omitempty"`
}

// QuotaRow is a row of GET /quota.
type QuotaRow struct {
	Name    string       `json:"name"`
	Kind    string       `json:"kind"`
	Parent  string       `json:"parent,omitempty"`
	Depth   int          `json:"depth"`
	Weight  int64        `json:"weight"`
	Share   *int64       `json:"share,omitempty"`
	Flavors []QuotaUnits `json:"flavors"`
}
