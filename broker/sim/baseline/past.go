package baseline

import (
	"fmt"
	"math"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// Past is what is known of the services before the time that is judged. Times are since
// the start of the scenario that is played; before it they are negative.
type Past struct {
	From, Until time.Duration
	// Sample is as the scenario's.
	Sample time.Duration
	// Services with their load, or replicas, in that time; what comes after is not read.
	Services []sim.Service
}

// Before is the past of a scenario at a moment, most often the end of its warm-up.
func Before(s *sim.Scenario, until time.Duration) Past {
	return Past{Until: until, Sample: s.Sample, Services: s.Services}
}

// knows reports whether the past has a value of a service: of one that it has none of, what
// the autoscaler wanted is not known either, and not nothing.
func (p *Past) knows(s *sim.Service) bool {
	for _, curve := range []sim.Curve{s.Load, s.Replicas} {
		for _, pt := range shifted(curve, *p) {
			if pt.At < p.Until-p.From && !math.IsNaN(pt.Value) {
				return true
			}
		}
	}
	return false
}

// perNode is the size of the nodes on which the past is played.
const perNode = 1024

// wanted is how many replicas each service's autoscaler wants, over a time. It is the
// world's own: it is played without jobs, with room for all replicas.
func wanted(p Past) ([]sim.Curve, error) {
	s := &sim.Scenario{Length: p.Until - p.From, Sample: p.Sample, Jobs: sim.List(nil)}
	for _, v := range p.Services {
		v.Load, v.Replicas = shifted(v.Load, p), shifted(v.Replicas, p)
		v.Reload, v.Drain = 0, 0
		v.Lender.Owned, v.Lender.UnitsPerPod = max(v.Most(), 1), 1
		s.Services = append(s.Services, v)
		for room := int64(0); room < v.Lender.Owned; room += perNode {
			s.Nodes = append(s.Nodes, sim.Node{
				Name: fmt.Sprintf("node-%06d", len(s.Nodes)), Units: []sim.NodeUnits{{Flavor: v.Lender.Flavor, Count: perNode}}, Home: v.Lender.Name,
			})
		}
	}
	switch {
	case s.Length <= 0:
		return nil, fmt.Errorf("past: is from %s until %s, must be some time", p.From, p.Until)
	case len(s.Services) == 0:
		return nil, nil
	}
	r := &recorder{curves: make([]sim.Curve, len(s.Services))}
	if _, err := sim.Run(s, r, nil); err != nil {
		return nil, fmt.Errorf("playing the past: %w", err)
	}
	for i := range r.curves {
		for k := range r.curves[i] {
			r.curves[i][k].At += p.From
		}
	}
	return r.curves, nil
}

// shifted is a curve from where the past begins. It is played until the past ends.
func shifted(c sim.Curve, p Past) sim.Curve {
	var out sim.Curve
	for i, pt := range c {
		if i+1 < len(c) && c[i+1].At <= p.From {
			continue
		}
		out = append(out, sim.Point{At: max(pt.At-p.From, 0), Value: pt.Value})
	}
	return out
}

// recorder notes what autoscalers want.
type recorder struct{ curves []sim.Curve }

func (*recorder) Name() string { return "recorder" }

func (r *recorder) Decide(w *sim.World) time.Duration {
	for i, s := range w.Services() {
		c := r.curves[i]
		if v := float64(s.Desired); len(c) == 0 || c[len(c)-1].Value != v {
			r.curves[i] = append(c, sim.Point{At: w.Now(), Value: v})
		}
	}
	return 0
}
