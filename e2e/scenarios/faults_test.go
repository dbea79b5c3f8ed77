package scenarios

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// night is a town in which one replica serves and the rest is lendable.
func night(t *testing.T, nodes int) *town {
	t.Helper()
	return newTown(t, nodes).falls(nodes)
}

// patientNight is night for tests of the broker's own way to take back.
func patientNight(t *testing.T, nodes int) *town {
	t.Helper()
	return newPatientTown(t, nodes).falls(nodes)
}

// falls starts the service of a night.
func (w *town) falls(nodes int) *town {
	w.t.Helper()
	w.dial.set(2, 0)
	w.serve(1, 8, int64(nodes)*8)
	w.awaitBound(onlineNamespace, 1)
	return w
}

// A broker that is killed while it lends loses no loan and doubles none: after
// each restart the books and the cluster agree again.
func TestBrokerKilledWhileLending(t *testing.T) {
	t.Parallel()
	w := night(t, 3)
	for i := range 16 {
		w.submit(fmt.Sprintf("job-%02d", i), 1, 1, nil)
	}
	for round := range 3 {
		// As soon as it has lent something more, in the midst of the rest.
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
	w.awaitAgreement()

	// And what was lent comes back.
	w.scale(3)
	w.awaitBound(onlineNamespace, 3)
	w.awaitLoans()
	w.closeTheBooks()
}

// With the broker stopped, online pods take their units back by themselves, and
// within the grace. The broker, back again, finds and books what happened.
func TestOnlineSpikeWithoutABroker(t *testing.T) {
	t.Parallel()
	w := night(t, 3)
	w.submit("left", 1, 8, nil)
	w.submit("right", 1, 8, nil)
	w.awaitLoans("left", "right")
	w.awaitBound(trainingNamespace, 2)
	w.awaitAgreement()
	if err := w.Part(lab.Broker).Stop(); err != nil {
		t.Fatal(err)
	}

	w.scale(2)
	waited := w.awaitBound(onlineNamespace, 2)
	t.Logf("the online pod waited %s; grace %s", waited, maxGrace)
	if limit := maxGrace + slack; waited > limit {
		t.Errorf("the online pod waited %s, more than %s", waited, limit)
	}
	// One job of the two was enough, and no pod of it comes back by itself.
	w.awaitBound(trainingNamespace, 1)

	w.startBroker()
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		loans, err := w.loans(ctx)
		return err == nil && len(loans) == 1, fmt.Sprintf("%d loans, want 1 (%v)", len(loans), err)
	})
	w.awaitAgreement()
	entries, err := w.entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	preempted := 0
	for _, e := range entries {
		if e.Kind == "PREEMPTED" {
			preempted++
		}
	}
	if preempted != 1 {
		t.Errorf("the ledger has %d PREEMPTED entries, want 1", preempted)
	}
	w.closeTheBooks()
}

// Without Prometheus the load is unknown, which is not idle: nothing more is
// lent at once, and what is lent goes home when it stays so.
func TestPrometheusStopped(t *testing.T) {
	t.Parallel()
	w := night(t, 3)
	w.submit("before", 1, 8, nil)
	w.awaitLoans("before")
	if err := w.Part(lab.Prometheus).Stop(); err != nil {
		t.Fatal(err)
	}
	w.awaitUnknown()
	w.submit("after", 1, 8, nil)
	w.awaitVerdict("Job/research/after", "NoLendableUnits")
	w.awaitLoans() // past the grace for not knowing, the loan is back
	w.awaitEntry("before", "RECLAIM_DONE")

	if err := w.Part(lab.Prometheus).Start(); err != nil {
		t.Fatal(err)
	}
	w.awaitLoans("before", "after")
	w.closeTheBooks()
}

func (w *town) awaitUnknown() {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		var answer struct {
			Verdicts []struct{ Reason, Message string }
		}
		if err := w.ask(ctx, "/verdicts?subject=Lender/serving/chat", &answer); err != nil {
			return false, err.Error()
		}
		for _, v := range answer.Verdicts {
			switch v.Reason {
			case "LoadUnknown", "LoadSampleStale", "LoadCoverageLow":
				return true, ""
			}
		}
		return false, fmt.Sprintf("%+v", answer.Verdicts)
	})
}

// The API server goes away and comes back: loans stay as they were, and lending
// and taking back go on.
func TestAPIServerRestarted(t *testing.T) {
	t.Parallel()
	w := night(t, 3)
	w.submit("one", 1, 8, nil)
	w.awaitLoans("one")
	w.awaitBound(trainingNamespace, 1)
	before, err := w.loans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.judge()
	if err := w.Part(lab.KubeAPIServer).Kill(); err != nil {
		t.Fatal(err)
	}
	if err := w.Part(lab.KubeAPIServer).Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.Part(lab.KubeAPIServer).WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	w.audit() // the old watches come back one by one, and would judge half a picture
	w.submit("two", 1, 8, nil)
	w.awaitLoans("one", "two")
	after, err := w.loans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if was, is := before["one"].UID, after["one"].UID; was != is {
		t.Errorf("the loan of job one was %s and is %s: it should not have noticed", was, is)
	}
	w.awaitBound(trainingNamespace, 2)
	w.scale(3)
	w.awaitBound(onlineNamespace, 3)
	w.awaitLoans()
	w.closeTheBooks()
}

func (w *town) startBroker() {
	w.t.Helper()
	if err := w.Part(lab.Broker).Start(); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if err := w.Part(lab.Broker).WaitReady(ctx); err != nil {
		w.t.Fatal(err)
	}
}

// events returns the reasons of the events about an object.
func (w *town) events(ctx context.Context, namespace, kind, name string) (map[string]string, error) {
	list, err := w.Client().CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, e := range list.Items {
		if e.InvolvedObject.Kind == kind && e.InvolvedObject.Name == name {
			found[e.Reason] = e.Message
		}
	}
	return found, nil
}
