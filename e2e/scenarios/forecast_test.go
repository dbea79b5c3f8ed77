package scenarios

import (
	"context"
	"fmt"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// A broker that forecasts, as it does by default, asks Prometheus for the past of a service.
// It finds none, and so nothing by which to bound how far the load may rise until units are
// back: it keeps what the load grows by from the low to the high water mark, and lends the
// rest. A load that rises is answered as without a forecast.
func TestForecastKeepsRoomToGrow(t *testing.T) {
	t.Parallel()
	w := newForecastingTown(t, 2)
	w.dial.set(1, 0)
	w.serve(1, 2, 16)
	w.awaitBound(onlineNamespace, 1)
	w.submit("most", 14, 1, nil) // all but what the service needs
	w.submit("some", 8, 1, nil)
	w.awaitLoans("some")
	w.awaitBound(trainingNamespace, 8)
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		policy, err := w.policy(ctx)
		if err != nil {
			return false, err.Error()
		}
		s := policy.Status
		return s.Need == 2 && s.Headroom >= 2 && s.Headroom <= 6,
			fmt.Sprintf("needs %d units and keeps %d, want 2 and what 1 request may grow to: 2 to 6", s.Need, s.Headroom)
	})
	w.awaitVerdict("Job/research/most", "NoLendableUnits")

	w.dial.set(15, 5)
	w.scale(8)
	w.awaitBound(onlineNamespace, 8)
	w.awaitLoans()
	w.closeTheBooks()
}

// newForecastingTown is newTown with a broker that forecasts.
func newForecastingTown(t *testing.T, nodes int) *town {
	t.Helper()
	w := newClusterWith(t, nodes, brokerWith("{youngReplica: 1s, stableWindow: 1s, panicWindow: 1s, forecast: true}", quick))
	w.settle(int64(nodes) * 8)
	return w
}
