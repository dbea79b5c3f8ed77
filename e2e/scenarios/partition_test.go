package scenarios

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/faults/proxy"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// A leader that the API server does not hear any more ends, and the other goes on where it
// was. When the two can be heard again they have the same books, and nothing was lent twice.
func TestLeaderCutOff(t *testing.T) {
	nightly(t)
	t.Parallel()
	rig := proxy.NewRig(seed(t), nil)
	t.Cleanup(func() {
		if err := rig.Close(); err != nil {
			t.Error(err)
		}
	})
	w := pairThrough(t, 3, map[string]any{"ack": "Local", "onOldFile": "Gap"}, rig.Through)
	for i := range 12 {
		w.submit(fmt.Sprintf("job-%02d", i), 1, 1, nil)
	}
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		loans, err := w.loans(ctx)
		return err == nil && len(loans) > 0, fmt.Sprintf("%d loans (%v)", len(loans), err)
	})
	old := w.Part(lab.Broker)
	pid := old.PID()
	if err := rig.Set(proxy.Rule{Client: lab.Broker, Share: 1, Fault: proxy.Refuse}); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, patience, func(context.Context) (bool, string) {
		return old.PID() != pid, "the leader that nobody hears still lives"
	})
	w.awaitLeader(second)
	w.awaitBound(trainingNamespace, 12)

	rig.Clear()
	healed := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := old.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	w.awaitAgreement()
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		copied, head := w.metric(ctx, lab.Broker, "ebbtide_ledger_replica_sequence"), w.metric(ctx, second, "ebbtide_ledger_head_sequence")
		return copied >= head && head > 0, fmt.Sprintf("the old leader has %.0f of %.0f entries", copied, head)
	})
	if took := time.Since(healed); took > 30*time.Second {
		t.Errorf("it took %s until both agreed again", took)
	} else {
		t.Logf("both agreed %s after they could be heard again; %d calls were refused", took.Round(10*time.Millisecond), rig.Struck())
	}
	w.scale(3)
	w.awaitBound(onlineNamespace, 3)
	w.awaitLoans()
	if loans := doubled(w.mustEntries()); len(loans) > 0 {
		t.Errorf("lent twice: %v", loans)
	}
	for _, v := range w.final(w.auditor).Violations {
		t.Errorf("the auditor saw: %s", v)
	}
	w.sameFiles(lab.Broker)
}

func (w *town) mustEntries() []ledgerEntry {
	w.t.Helper()
	entries, err := w.entries(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return entries
}
