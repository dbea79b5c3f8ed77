package scenarios

import (
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// A broker that was killed still knows how often a job was taken back: its budget does not
// begin anew.
func TestBudgetOutlivesTheBroker(t *testing.T) {
	t.Parallel()
	policy := strings.Replace(quick, "evictionBudget: 100", "evictionBudget: 1", 1)
	w := newPatientCluster(t, 2, brokerWith("{youngReplica: 1s, stableWindow: 1s, panicWindow: 1s, forecast: false}", policy))
	w.settle(16)
	w.dial.set(2, 0)
	w.serve(1, 8, 16)
	w.awaitBound(onlineNamespace, 1)
	w.submit("once", 1, 8, nil)
	w.awaitLoans("once")
	w.awaitBound(trainingNamespace, 1) // else it would be crowded out, which no budget counts
	w.scale(2)
	w.awaitBound(onlineNamespace, 2)
	w.awaitLoans()
	if err := w.Part(lab.Broker).Kill(); err != nil {
		t.Fatal(err)
	}
	w.startBroker()
	w.scale(1)
	w.awaitVerdict("Job/research/once", lend.ReasonEvictionBudget)
	w.submit("other", 1, 8, nil) // the units are to be had
	w.awaitLoans("other")
	w.closeTheBooks()
}
