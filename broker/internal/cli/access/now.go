package access

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/counterfactual"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/view"
)

// Lender is a service that lends, as the last decision saw it.
type Lender struct {
	lend.LenderView
	Tenant  string    `json:"tenant"`
	Flavor  string    `json:"flavor"`
	Advise  bool      `json:"advise"`
	Running int64     `json:"running"`
	Ready   int64     `json:"ready"`
	Pending int       `json:"pending"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Since   time.Time `json:"since,omitzero"`

	LowWater        float64 `json:"lowWater,omitempty"`
	HighWater       float64 `json:"highWater,omitempty"`
	DwellSeconds    float64 `json:"dwellSeconds,omitempty"`
	CooldownSeconds float64 `json:"cooldownSeconds,omitempty"`
	MaxGraceSeconds float64 `json:"maxGraceSeconds,omitempty"`
	UnitsPerPod     int64   `json:"unitsPerPod,omitempty"`

	// Refused: the policy cannot be used as it is written.
	Refused bool `json:"refused,omitempty"`
	Paused  bool `json:"paused,omitempty"`
	// Recall is what is asked back by hand.
	Recall *struct {
		Keep  int64     `json:"keep"`
		Until time.Time `json:"until"`
	} `json:"recall,omitempty"`
	// LowSince is since when all signals have been low, LastReclaim when units were last
	// asked back.
	LowSince    time.Time `json:"lowSince,omitzero"`
	LastReclaim time.Time `json:"lastReclaim,omitzero"`
}

// Who is what a caller may see.
type Who struct {
	// All: all there is; Namespaces of tenants, whose rows.
	All        bool     `json:"all"`
	Namespaces []string `json:"namespaces"`
}

// Sees tells whether a lender, namespace/name or a cohort, is named to the caller.
func (w *Who) Sees(lender string) bool {
	ns, _, _ := strings.Cut(lender, "/")
	return w.All || lend.IsCohortLender(lender) || slices.Contains(w.Namespaces, ns)
}

// Who asks.
func (b *Broker) Who(ctx context.Context) (Who, error) {
	var answer Who
	err := b.get(ctx, "/whoami", nil, &answer)
	return answer, err
}

// Lenders are all whose namespaces the caller may see, and when that was decided.
func (b *Broker) Lenders(ctx context.Context) ([]Lender, time.Time, error) {
	var answer struct {
		DecidedAt time.Time `json:"decidedAt"`
		Lenders   []Lender  `json:"lenders"`
	}
	err := b.get(ctx, "/lenders", nil, &answer)
	return answer.Lenders, answer.DecidedAt, err
}

// Loans are the open ones; of one job or lender (namespace/name) if the query says so, by
// the names of the broker's parameters.
func (b *Broker) Loans(ctx context.Context, query url.Values) ([]view.LoanRow, time.Time, error) {
	var all []view.LoanRow
	var at time.Time
	err := pages(query, func(query url.Values) (uint64, error) {
		var answer struct {
			DecidedAt time.Time      `json:"decidedAt"`
			Loans     []view.LoanRow `json:"loans"`
			Next      uint64         `json:"next"`
		}
		err := b.get(ctx, "/loans", query, &answer)
		all, at = append(all, answer.Loans...), answer.DecidedAt
		return answer.Next, err
	})
	return all, at, err
}

// Nodes are all, or the one of a name, and the sums over those shown.
func (b *Broker) Nodes(ctx context.Context, name string) (nodes []view.NodeRow, totals []view.UnitsRow, err error) {
	query := url.Values{}
	if name != "" {
		query.Set("name", name)
	}
	err = pages(query, func(query url.Values) (uint64, error) {
		var answer struct {
			Totals []view.UnitsRow `json:"totals"`
			Nodes  []view.NodeRow  `json:"nodes"`
			Next   uint64          `json:"next"`
		}
		err := b.get(ctx, "/nodes", query, &answer)
		nodes, totals = append(nodes, answer.Nodes...), answer.Totals
		return answer.Next, err
	})
	return nodes, totals, err
}

// Quota is the tree of tenants and cohorts, as far as the caller may see it.
func (b *Broker) Quota(ctx context.Context) ([]view.QuotaRow, error) {
	var answer struct {
		Rows []view.QuotaRow `json:"rows"`
	}
	err := b.get(ctx, "/quota", nil, &answer)
	return answer.Rows, err
}

// pages asks for one page after the other.
func pages(query url.Values, ask func(url.Values) (next uint64, err error)) error {
	page := url.Values{}
	for name, values := range query {
		page[name] = values
	}
	for from := uint64(1); ; {
		next, err := ask(page)
		if err != nil || next <= from {
			return err
		}
		from = next
		page.Set("from", strconv.FormatUint(from, 10))
	}
}

// Counterfactual is why a job waits, and what would admit it.
type Counterfactual struct {
	DecidedAt time.Time `json:"decidedAt"`
	Job       string    `json:"job"`
	UID       string    `json:"uid,omitempty"`
	Sentence  string    `json:"sentence"`
	Chain     []Link    `json:"chain"`
	// Nearest are the changes of which each would admit it; Complete: all were tried.
	Nearest  []counterfactual.Change `json:"nearest"`
	Complete bool                    `json:"complete"`
	// When it will start, or else why that is not known.
	When        *When  `json:"when,omitempty"`
	WhenUnknown string `json:"whenUnknown,omitempty"`
}

// Link is one verdict of those that together are why a job waits.
type Link struct {
	Kind    string    `json:"kind"`
	Subject string    `json:"subject"`
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// When is an interval; Latest may be missing.
type When struct {
	Earliest time.Time `json:"earliest"`
	Latest   time.Time `json:"latest,omitzero"`
	Returns  int       `json:"returns"`
	Message  string    `json:"message"`
}

// Counterfactual asks why a waiting job (namespace/name) waits. ErrUnknownSubject if it does
// not.
func (b *Broker) Counterfactual(ctx context.Context, job, uid string) (Counterfactual, error) {
	query := url.Values{"job": {job}}
	if uid != "" {
		query.Set("uid", uid)
	}
	var answer Counterfactual
	err := b.get(ctx, "/counterfactual", query, &answer)
	return answer, err
}

// Recalled is which loans would end if a lender were to keep units.
type Recalled struct {
	DecidedAt time.Time      `json:"decidedAt"`
	Lender    string         `json:"lender"`
	Keep      int64          `json:"keep"`
	Owned     int64          `json:"owned"`
	Lent      int64          `json:"lent"`
	Loans     []RecalledLoan `json:"loans"`
	// Units of the lender that would come back, Leaving that are on their way already, Short
	// that would still be missing.
	Units   int64 `json:"units"`
	Leaving int64 `json:"leaving,omitempty"`
	Short   int64 `json:"short,omitempty"`
	// Others is how many loans would end that the caller may not see.
	Others int64 `json:"others,omitempty"`
	// By is when the last would be back.
	By time.Time `json:"by,omitzero"`
}

// RecalledLoan is one of them. Part: its job goes on with others.
type RecalledLoan struct {
	Loan            string    `json:"loan"`
	Job             string    `json:"job"`
	Borrower        string    `json:"borrower"`
	Units           int64     `json:"units"`
	Part            bool      `json:"part,omitempty"`
	By              time.Time `json:"by,omitzero"`
	GraceSeconds    float64   `json:"graceSeconds,omitempty"`
	LostWorkSeconds float64   `json:"lostWorkSeconds,omitempty"`
}

// Recall asks what would end if a lender (namespace/name) were to keep units; all that it
// owns if keep is nil. Nothing is changed.
func (b *Broker) Recall(ctx context.Context, lender string, keep *int64) (Recalled, error) {
	query := url.Values{"lender": {lender}}
	if keep != nil {
		query.Set("keep", strconv.FormatInt(*keep, 10))
	}
	var answer Recalled
	err := b.get(ctx, "/counterfactual", query, &answer)
	return answer, err
}
