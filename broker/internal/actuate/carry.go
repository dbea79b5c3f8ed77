package actuate

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

const (
	// mostRecords is how many entries a Loan carries, as its kind says.
	mostRecords = 64
	// mostRecordBytes bounds them all: an object of the API has at most 1.5 MB, and a
	// RECOVERED has to hold what the Loan carries.
	mostRecordBytes = 160 << 10
)

// writeLoan writes a Loan's status, and with it the ledger's entries about the Loan: if the
// ledger's volume is lost, they are still here.
func (a *Actuator) writeLoan(ctx context.Context, object *v1alpha1.Loan) error {
	if err := a.carry(object); err != nil {
		return err
	}
	return a.Client.Status().Update(ctx, object)
}

// carry puts the entries about a Loan into its status, but those that are elsewhere too. If
// the ledger has none, it is not the one that the Loan was recorded in, and what the Loan
// carries stays until it is recovered.
func (a *Actuator) carry(object *v1alpha1.Loan) error {
	status := &object.Status
	status.Epoch = a.Epoch
	entries, err := a.Ledger.ByLoan(object.Namespace + "/" + object.Name)
	if err != nil {
		return fmt.Errorf("read the loan's entries: %w", err)
	}
	if len(entries) == 0 {
		return nil
	}
	status.LedgerSeq = int64(entries[len(entries)-1].Seq)
	if a.Durable != nil {
		durable := a.Durable()
		status.DurableSeq = int64(durable)
		for len(entries) > 0 && entries[0].Seq <= durable {
			entries = entries[1:]
		}
	}
	status.Records, status.RecordsOmitted, err = records(entries)
	return err
}

// carried tells whether a Loan carries the ledger's last entry about it. Its number alone does
// not say so where another broker wrote the Loan: that one's ledger may be lost, and numbers
// begin anew in the next.
func (a *Actuator) carried(name string, object *v1alpha1.Loan, last uint64) (bool, error) {
	status := &object.Status
	if uint64(status.LedgerSeq) != last {
		return false, nil
	}
	if status.Epoch == a.Epoch || len(status.Records) == 0 {
		return true, nil
	}
	if sure, known := a.compared.Load(object.UID); known && sure == last {
		return true, nil
	}
	entries, err := a.Ledger.ByLoan(name)
	if err != nil || len(entries) == 0 {
		return false, err
	}
	if status.Records[len(status.Records)-1].Hash != entries[len(entries)-1].Hash.String() {
		return false, nil
	}
	a.compared.Store(object.UID, last)
	return true, nil
}

// records are as many entries as fit: the first, which says what the loan is, and the last.
// What is too long to be carried whole has at least its number and its hash there.
func records(entries []ledger.Entry) (carried []v1alpha1.LoanRecord, omitted int64, err error) {
	if more := len(entries) - mostRecords; more > 0 {
		omitted = int64(more)
		entries = append(entries[:1:1], entries[1+more:]...)
	}
	carried = make([]v1alpha1.LoanRecord, len(entries))
	whole := make([]json.RawMessage, len(entries))
	for i := range entries {
		e := &entries[i]
		carried[i] = v1alpha1.LoanRecord{
			Seq: int64(e.Seq), Hash: e.Hash.String(), Kind: e.Kind.String(), OpID: e.OpID, Time: metav1.NewMicroTime(e.Time),
		}
		if whole[i], err = json.Marshal(e); err != nil {
			return nil, 0, fmt.Errorf("write entry %d: %w", e.Seq, err)
		}
	}
	left := mostRecordBytes
	take := func(i int) {
		if size := len(whole[i]); size <= left {
			left -= size
			carried[i].Entry = &runtime.RawExtension{Raw: whole[i]}
		}
	}
	if len(carried) > 0 {
		take(0)
	}
	for i := len(carried) - 1; i > 0; i-- {
		take(i)
	}
	return carried, omitted, nil
}

// recovered is what a RECOVERED says about what the Loan carried.
type recovered struct {
	// Records are as they were written, with the numbers and hashes of the ledger that is
	// not there any more.
	Records []v1alpha1.LoanRecord `json:"records,omitempty"`
	// Omitted is how many are missing between the first and the second.
	Omitted int64 `json:"omitted,omitempty"`
}

// lenders are the lenders' tenants, as the first of the records has them.
func (r *recovered) lenders() map[string]string {
	if len(r.Records) == 0 || r.Records[0].Entry == nil {
		return nil
	}
	var first struct {
		Payload openingPayload `json:"payload"`
	}
	if json.Unmarshal(r.Records[0].Entry.Raw, &first) != nil {
		return nil // somebody else has written it; nothing is billed by it
	}
	return first.Payload.Lenders
}

// kept tells whether the ledger's last entry about a loan is where the broker was told to
// wait for it, so that the Loan may go.
func (a *Actuator) kept(name string) (bool, error) {
	if a.Durable == nil {
		return true, nil
	}
	entries, err := a.Ledger.ByLoan(name)
	if err != nil {
		return false, fmt.Errorf("read the loan's entries: %w", err)
	}
	return len(entries) == 0 || entries[len(entries)-1].Seq <= a.Durable(), nil
}

// secured waits until what was written down is wherever the broker was told to wait for it.
// Where it is not in time, nothing comes of it: the next decision finds intents of which
// nothing is made, and closes them.
func (r *round) secured(ctx context.Context, lends []*intent, makings []*making) ([]*intent, []*making) {
	if r.Secure == nil || len(lends) == 0 && len(makings) == 0 {
		return lends, makings
	}
	var last uint64
	for _, in := range lends {
		if open, is := r.Ledger.Loan(in.action.Loan); is {
			last = max(last, open.LastSeq)
		}
	}
	for _, m := range makings {
		if open, is := r.Ledger.Reshape(m.id); is {
			last = max(last, open.LastSeq)
		}
	}
	err := r.Secure(ctx, last)
	if err == nil {
		return lends, makings
	}
	for _, in := range lends {
		r.Setbacks.Note(in.job.UID, r.Clock.Now(), err.Error())
		r.fail(fmt.Errorf("lend %s: %w", in.action.Loan, err))
	}
	for _, m := range makings {
		r.fail(fmt.Errorf("reshape a GPU of %s: %w", m.action.Node, err))
	}
	return nil, nil
}
