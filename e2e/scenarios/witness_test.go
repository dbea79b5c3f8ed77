package scenarios

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
	"github.com/ebbtide/ebbtide/e2e/witness"
)

// actors are the accounts whose silence a witness looks for.
var actors = []string{
	"system:serviceaccount:" + lab.SystemNamespace + ":ebbtide-broker",
	"system:serviceaccount:" + lab.SystemNamespace + ":ebbtide-scheduler",
}

// witness watches until the test has ended.
func (w *town) witness() *witness.Witness {
	w.t.Helper()
	x, err := witness.Start(w.t.Context(), witness.Options{
		Config: w.Config(), AuditLog: w.AuditLog(), Actors: actors, Folder: w.t.ArtifactDir(),
		Books: func() []string { return []string{w.ledgerPath()} },
		Alive: func(context.Context) error {
			if w.Part(lab.Broker).PID() == 0 || w.Part(lab.Scheduler).PID() == 0 {
				return fmt.Errorf("the broker or the scheduler is not running")
			}
			return nil
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(x.Close)
	return x
}

// testify waits until all is as it should be, and silent, and asks the witness.
func (w *town) testify(x *witness.Witness, within, silence time.Duration) witness.Report {
	w.t.Helper()
	took, err := x.Settle(w.t.Context(), within, silence)
	w.t.Logf("settled after %s, then silent for %s; last: %s", took.Round(time.Millisecond), silence, x.Moved())
	if err != nil {
		w.t.Error(err)
	}
	return w.hear(x)
}

// hear asks the witness what it found.
func (w *town) hear(x *witness.Witness) witness.Report {
	w.t.Helper()
	report, err := x.Judge(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("the witness saw %d changes, %d of them late, %d loans, %d entries that were shown, %d in the books, %d writes; bills within %s of the watch",
		report.Events, report.Late, report.Loans, report.Acked, report.Entries, report.Writes, report.Worst)
	if err := report.Err(); err != nil {
		w.t.Errorf("the witness: %v", err)
	}
	return report
}

// A broker that is killed three times while it lends, judged by a witness that shares no code
// with it: nothing that was shown is lost or doubled, and the cluster comes to rest.
func TestWitnessOfAKilledBroker(t *testing.T) {
	t.Parallel()
	w := night(t, 3)
	x := w.witness()
	for i := range 16 {
		w.submit(fmt.Sprintf("job-%02d", i), 1, 1, nil)
	}
	for round := range 3 {
		labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
			loans, err := w.loans(ctx)
			return err == nil && len(loans) > round, fmt.Sprintf("%d loans (%v)", len(loans), err)
		})
		if err := w.Part(lab.Broker).Kill(); err != nil {
			t.Fatal(err)
		}
		w.startBroker()
	}
	w.awaitBound(trainingNamespace, 16)
	w.testify(x, patience, 10*time.Second)

	w.scale(3)
	w.awaitBound(onlineNamespace, 3)
	report := w.testify(x, patience, time.Minute)
	if report.Loans < 16 || report.Billed < 16 || report.Acked == 0 || report.Entries == 0 || report.Writes == 0 || !report.Settled {
		t.Errorf("the witness saw too little: %+v", report)
	}
	w.closeTheBooks()
}
