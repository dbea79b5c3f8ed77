package controller

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbtide/ebbtide/broker/internal/gather"
)

// newStrange is what other schedulers are asked for. Its labels are as many as there are
// GPU resources, twice: who may name schedulers and pods may not make rows.
func newStrange() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "other_scheduler_units",
		Help: "Units that pods ask for through other schedulers than Ebbtide's; bound says whether they are on a node. Above 0, a GPU may be used twice; events on the pods name them.",
	}, []string{"resource", "bound"})
}

// strangers counts what pods of other schedulers ask for.
func (m *Metrics) strangers(list []gather.Stranger) {
	m.strange.Reset()
	for _, s := range list {
		bound := "false"
		if s.Node != "" {
			bound = "true"
		}
		m.strange.WithLabelValues(string(s.Resource), bound).Add(float64(s.Units))
	}
}
