package product

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// What is a mean already is not averaged again, where that is said.
func TestStableWindow(t *testing.T) {
	for name, c := range map[string]struct {
		window time.Duration
		want   float64
	}{
		"the policy's":   {0, 20},
		"a longer one":   {2 * time.Minute, 15},
		"no mean at all": {time.Second, 30},
	} {
		t.Run(name, func(t *testing.T) {
			s := town(1, 0)
			s.Sample = 30 * time.Second
			p := New(lend.DefaultPolicy(), Options{StableWindow: c.window}).(*policy)
			v := &sim.ServiceState{Service: &s.Services[0], Requests: 30}
			h := newHeard(v, s, p)
			for i, load := range []float64{5, 10, 30} {
				h.hear(time.Duration(i+1)*30*time.Second, load)
			}
			if got := h.load(v).Requests; got != c.want {
				t.Errorf("the load is %v, want %v", got, c.want)
			}
		})
	}
}
