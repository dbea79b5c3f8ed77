package gather

import (
	"maps"
	"strconv"
	"testing"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// TestPoolsOfMany: nodes that differ where no pool looks are looked at once, and a label
// that is empty is told from one that is not there.
func TestPoolsOfMany(t *testing.T) {
	var p v1alpha1.LendingPolicy
	p.Spec.Pools = []v1alpha1.Pool{
		{NodeSelector: map[string]string{"product": "h100", "zone": ""}}, {NodeSelector: map[string]string{"product": "h100"}},
	}
	pools := newPools([]v1alpha1.LendingPolicy{p})
	for host, test := range []struct {
		labels map[string]string
		want   int32
	}{
		{map[string]string{"product": "h100", "zone": ""}, 2},
		{map[string]string{"product": "h100"}, 1},
		{map[string]string{"product": "h100", "zone": "a"}, 1},
		{map[string]string{"zone": "h100"}, 0},
		{nil, 0},
		{map[string]string{"product": "h100"}, 1},
	} {
		labels := maps.Clone(test.labels)
		if labels != nil {
			labels["host"] = strconv.Itoa(host)
		}
		if got := pools.lendLast(labels); got != test.want {
			t.Errorf("%v: got %d, want %d", labels, got, test.want)
		}
	}
	if len(pools.known) != 5 {
		t.Errorf("looked at %d kinds of node, want 5: %v", len(pools.known), pools.known)
	}
}
