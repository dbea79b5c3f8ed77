package history_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/counterfactual"
	"github.com/ebbtide/ebbtide/broker/internal/history"
)

// Returns go a week back, the last hours one by one and the others by the minute, however
// often somebody asks; and they do not grow with what came free.
func TestReturns(t *testing.T) {
	var b book
	at := func(d time.Duration, units int64) {
		b.lend(fmt.Sprintf("research/%s-%d", d, len(b)), start.Add(d-time.Hour), start.Add(d), lent(units))
	}
	at(0, 8)
	at(30*time.Second, 4)
	at(3*time.Hour, 2)
	at(3*time.Hour+30*time.Second, 1)
	h := follow(t, b)
	of := func(d time.Duration, units int64) counterfactual.Return {
		return counterfactual.Return{At: start.Add(d), Units: units}
	}
	now := start.Add(4 * time.Hour)
	want := []counterfactual.Return{of(0, 12), of(3*time.Hour, 2), of(3*time.Hour+30*time.Second, 1)}
	first := h.Returns(now)
	if diff := cmp.Diff(want, first["h100"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	later := h.Returns(start.Add(6 * time.Hour))
	if diff := cmp.Diff([]counterfactual.Return{of(0, 12), of(3*time.Hour, 3)}, later["h100"]); diff != "" {
		t.Errorf("two hours later (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, first["h100"]); diff != "" {
		t.Errorf("what was returned has changed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]counterfactual.Return{of(3*time.Hour, 3)}, h.Returns(start.Add(counterfactual.Back + time.Hour))["h100"]); diff != "" {
		t.Errorf("a week later (-want +got):\n%s", diff)
	}

	var many book
	for i := range 60_000 { // ten days of one in a quarter of a minute
		d := time.Duration(i) * 15 * time.Second
		many.lend(fmt.Sprintf("research/%d", i), start.Add(d-time.Hour), start.Add(d), lent(1))
	}
	h = follow(t, many)
	end := start.Add(60_000 * 15 * time.Second)
	if n := len(h.Returns(end)["h100"]); n > 7*24*60+3*60*3+1 {
		t.Errorf("%d returns are kept", n)
	}
	var none *history.History
	if none.Returns(end) != nil {
		t.Error("there are returns of no history")
	}
}
