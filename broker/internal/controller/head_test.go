package controller

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

// TestOldFile: with an old copy nothing is lent, and what was published stays, or a GAP says
// what is missing, as configured; a ledger begun anew is a GAP, but where another broker may
// have the one that was published: then this one does not lead.
func TestOldFile(t *testing.T) {
	newBook := func(entries int) *ledger.Ledger {
		book, err := ledger.Open(filepath.Join(t.TempDir(), "ledger.db"), ledger.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = book.Close() })
		for i := range entries {
			_, err := book.Append(ledger.Entry{Kind: ledger.Refused, Epoch: 1, OpID: string(rune('a' + i)), Job: "research/tune", Borrower: "research"})
			if err != nil {
				t.Fatal(err)
			}
		}
		return book
	}
	for name, test := range map[string]struct {
		entries      int
		same         bool // the same ledger
		how          OldFile
		others       bool // there may be another broker
		gap, refused bool
		elsewhere    bool
	}{
		"an old copy, refused":       {entries: 3, same: true, how: OldFileRefuse, refused: true},
		"an old copy, with a gap":    {entries: 3, same: true, how: OldFileGap, gap: true},
		"begun anew":                 {how: OldFileRefuse, gap: true},
		"begun anew, as one of two":  {how: OldFileRefuse, others: true, elsewhere: true},
		"begun anew, with a gap":     {how: OldFileGap, others: true, gap: true},
		"an old copy of one of two":  {entries: 3, same: true, how: OldFileRefuse, others: true, refused: true},
		"another ledger, refused":    {entries: 3, how: OldFileRefuse, refused: true},
		"another ledger, with a gap": {entries: 3, how: OldFileGap, gap: true},
	} {
		t.Run(name, func(t *testing.T) {
			book := newBook(test.entries)
			before := published.Head{ID: "another", Seq: 9, Hash: ledger.Hash{1}, Epoch: 4}
			if test.same {
				before.ID, _ = book.ID()
			}
			api := fake.NewClientBuilder().WithScheme(Scheme()).Build()
			clock := clocktesting.NewFakePassiveClock(now)
			lease := func() *published.Lease {
				return &published.Lease{Client: api, Live: api, Namespace: "ebbtide-system", Clock: clock}
			}
			if err := lease().Publish(t.Context(), before); err != nil {
				t.Fatal(err)
			}
			o := &outside{lease: lease(), book: book, shown: newHeadMetrics(prometheus.NewRegistry()), others: test.others}
			err := o.compare(before, test.how)
			if errors.Is(err, errElsewhere) != test.elsewhere || err != nil && !test.elsewhere {
				t.Fatal(err)
			}
			if test.elsewhere {
				return
			}
			if (o.gap != nil) != test.gap || (o.mayLend() != nil) != test.refused {
				t.Fatalf("gap %+v, refused %v", o.gap, o.mayLend())
			}
			if test.gap {
				gap := *o.gap
				gap.Epoch = 5
				if _, err := book.Append(gap); err != nil || !strings.Contains(string(gap.Payload), `"to":9`) {
					t.Errorf("the ledger takes %s with %v", gap.Payload, err)
				}
			}
			if err := o.publish(t.Context(), 5); err != nil {
				t.Fatal(err)
			}
			after, err := lease().Read(t.Context())
			if err != nil || (after == before) != test.refused {
				t.Errorf("published is %+v, %v", after, err)
			}
		})
	}
}
