package actuate

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/history"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// record appends an entry. A loan's entries all have its name as operation, which
// is never used twice, so that a repeated step writes nothing; those of which a loan may
// have several name their own.
func (a *Actuator) record(kind ledger.Kind, loan string, e ledger.Entry) (ledger.Entry, error) {
	e.Kind, e.Loan, e.OpID, e.Epoch = kind, loan, cmp.Or(e.OpID, loan), a.Epoch
	written, err := a.Ledger.Append(e)
	switch {
	case errors.Is(err, ledger.ErrUnknownOutcome), errors.Is(err, ledger.ErrStaleEpoch), errors.Is(err, ledger.ErrClosed):
		return written, fmt.Errorf("%w: record %s: %w", ErrStop, kind, err)
	case err != nil:
		return written, fmt.Errorf("record %s: %w", kind, err)
	}
	return written, nil
}

// opening is what a ledger entry that opens a loan says about it.
func opening(object *v1alpha1.Loan) ledger.Entry {
	e := ledger.Entry{
		Job:      object.Namespace + "/" + object.Spec.Job.Name,
		JobUID:   string(object.Spec.Job.UID),
		Borrower: object.Spec.Borrower,
	}
	e.Grants = grantsOf(object)
	e.Payload = asJSON(openingOf(object))
	return e
}

func openingOf(object *v1alpha1.Loan) openingPayload {
	p := openingPayload{Opening: history.Opening{Queue: object.Namespace + "/" + object.Spec.Queue}}
	if ref := jobs.RefOf(object); ref.GroupKind != kindJob {
		p.Job = &openingJob{Group: ref.GroupKind.Group, Kind: ref.GroupKind.Kind, PodGroup: ref.PodGroup}
	}
	return p
}

var kindJob = schema.GroupKind{Group: "batch", Kind: "Job"}

// openingPayload is what an entry that opens a loan keeps beside its own fields.
type openingPayload struct {
	history.Opening
	// Job is what the loan's job is, if it is not a batch Job.
	Job *openingJob `json:"job,omitempty"`
	// Lenders are the tenants that the LendingPolicies belong to which lend.
	Lenders map[string]string `json:"lenders,omitempty"`
	// recovered is a RECOVERED's.
	recovered
}

// openingJob says what a job is that has a name and a UID.
type openingJob struct {
	Group    string `json:"group,omitempty"`
	Kind     string `json:"kind"`
	PodGroup string `json:"podGroup,omitempty"`
}

// grantsOf is what the Loan holds.
func grantsOf(object *v1alpha1.Loan) (grants []ledger.Grant) {
	for _, g := range object.Held() {
		grants = append(grants, ledger.Grant(g))
	}
	return grants
}

// ensureGranted brings the ledger to where the Loan is: its units are held by a
// job that was admitted. A loan that the ledger does not know is RECOVERED, with
// the time at which the Loan was made. Afterwards the loan is Granted, Reclaiming
// or, if it was closed before, not open.
func (a *Actuator) ensureGranted(name string, object *v1alpha1.Loan) (ledger.OpenLoan, error) {
	known, open := a.Ledger.Loan(name)
	switch {
	case open && known.State == ledger.Intended:
		_, err := a.record(ledger.LendGranted, name, ledger.Entry{
			At: a.lately(since(object)), Reason: lend.ReasonLent, Message: "observed after the admission",
		})
		if err != nil {
			return known, err
		}
	case !open:
		entries, err := a.Ledger.ByLoan(name)
		if err != nil {
			return known, fmt.Errorf("look up the loan: %w", err)
		}
		if len(entries) > 0 {
			return ledger.OpenLoan{State: ledger.Closed}, nil
		}
		e := opening(object)
		p := openingOf(object)
		p.recovered = recovered{object.Status.Records, object.Status.RecordsOmitted}
		p.Lenders = p.lenders()
		e.Payload = asJSON(p)
		e.At = object.CreationTimestamp.UTC()
		e.Reason, e.Message = "Recovered", "the Loan exists, and the ledger did not know it"
		if _, err := a.record(ledger.Recovered, name, e); err != nil {
			return known, err
		}
		// gofail: var loanRecovered struct{}
	}
	known, _ = a.Ledger.Loan(name)
	return known, nil
}

// since is from when on a Loan's job may have its units: since it was said to be active, or as
// good as that.
func since(object *v1alpha1.Loan) time.Time {
	active := meta.FindStatusCondition(object.Status.Conditions, v1alpha1.LoanActive)
	if active != nil && active.Status == metav1.ConditionTrue && !active.LastTransitionTime.IsZero() {
		return active.LastTransitionTime.Time
	}
	return object.CreationTimestamp.Time
}

// causes are the signals of the lenders behind some grants, as the decision saw
// them. A lender whose load is unknown has none.
func causes(view *gather.View, grants []lend.Grant) []ledger.Value {
	var values []ledger.Value
	for i := range view.Snapshot.Lenders {
		l := &view.Snapshot.Lenders[i]
		if !l.Load.Known || !slices.ContainsFunc(grants, func(g lend.Grant) bool { return g.Lender == l.Name }) {
			continue
		}
		if l.Load.Slots > 0 {
			values = append(values, ledger.Value{Name: l.Name + " requests", Value: l.Load.Requests})
		}
		for _, s := range l.Load.Signals {
			values = append(values, ledger.Value{Name: l.Name + " " + s.Name, Value: s.Value})
		}
	}
	slices.SortFunc(values, func(a, b ledger.Value) int { return cmp.Compare(a.Name, b.Name) })
	return slices.CompactFunc(values, func(a, b ledger.Value) bool { return a.Name == b.Name })
}

// reclaimPayload is what a RECLAIM_INTENT keeps beside the entry's own fields.
type reclaimPayload struct {
	course.Asked
	LostWorkSeconds float64 `json:"lostWorkSeconds"`
	// Owed is what is due to those that ask.
	Owed []lend.Owed `json:"owed,omitempty"`
	// ReclaimedFor is the UID of the job that the units are for.
	ReclaimedFor string `json:"reclaimedFor,omitempty"`
	// Shed is what a SHED_INTENT asks for.
	Shed []lend.Grant `json:"shed,omitempty"`
	history.Reclaim
}

// payload tells of those whom the reclaim is for alone: the Loan carries it, which the
// borrower may read.
func payload(action *lend.Action) json.RawMessage {
	owed := slices.DeleteFunc(slices.Clone(action.Owed), func(o lend.Owed) bool { return !slices.Contains(action.Asking, o.Lender) })
	data, err := json.Marshal(reclaimPayload{course.Asked{ReclaimBy: action.ReclaimBy.UTC()}, action.LostWork, owed, action.ReclaimedFor, action.Shed, history.Reclaim{Asking: action.Asking}})
	if err != nil {
		return nil // a lost work that is not a number has no JSON; the entry stands without
	}
	return data
}
