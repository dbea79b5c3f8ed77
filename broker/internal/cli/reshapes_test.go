package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/view"
)

// An entry about a change of a GPU's layout shows whose units are where, though it has no
// grants.
func TestReshapeEntries(t *testing.T) {
	e := &ledger.Entry{
		Seq: 7, Kind: ledger.ReshapeIntent, OpID: "r1", Job: "research/tune", Borrower: "research", Reason: "Reshaping",
		Payload: []byte(`{"node":"gpu-0","gpu":"GPU-a","lender":"serving/chat","from":"a100-1g","count":4,"to":"a100-4g","made":1}`),
	}
	want := view.Entry{
		Seq: 7, Kind: "RESHAPE_INTENT", Job: "research/tune", Borrower: "research", Reason: "Reshaping",
		Lenders: []string{"serving/chat"}, Nodes: []string{"gpu-0"}, Units: 4,
	}
	if diff := cmp.Diff(want, viewEntry(e)); diff != "" {
		t.Error(diff)
	}
	e.Kind, e.Payload = ledger.Refused, nil
	if got := viewEntry(e); got.Units != 0 || len(got.Lenders) > 0 {
		t.Errorf("an entry about something else: %+v", got)
	}
}
