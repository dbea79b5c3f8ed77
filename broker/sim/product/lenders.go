package product

import (
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// lookAtService says what a service is doing. Its rules are there already.
func (p *policy) lookAtService(l *lend.Lender, v *sim.ServiceState, h *heard) {
	l.Advise = p.options.advise || v.Lender.Advise
	l.Desired, l.Running, l.Ready = v.Desired, v.Running, v.Ready
	l.Pending = l.Pending[:0]
	for i, since := range v.Pending {
		l.Pending = append(l.Pending, lend.PendingPod{Name: h.podName(i, v), Since: p.time(since)})
	}
	l.Load = h.load(v)
	l.Notice = h.notice
	l.Forecast = h.forecast(p.snapshot.Now, &p.rules)
}

// podName is what the n-th replica that waits is called.
func (h *heard) podName(n int, v *sim.ServiceState) string {
	for len(h.names) <= n {
		h.names = append(h.names, fmt.Sprintf("%s-%06d", v.Lender.Name, len(h.names)))
	}
	return h.names[n]
}

func (p *policy) time(at time.Duration) time.Time { return p.world.Scenario().Start.Add(at) }
