package autoscaler

import (
	"fmt"

	"github.com/ebbtide/ebbtide/broker/internal/signal"
)

// metric is a number that an autoscaler looks at.
type metric struct {
	name string
	// spec says where it is read; its Name and marks are filled in when it is known how
	// many replicas there are.
	spec signal.Spec
	// address is where the autoscaler reads it, of a Redis or Kafka whose backend is not
	// known yet; database is the number of a Redis database.
	address  string
	database int
	// target is what the value should be, or with perReplica what it should be for each
	// replica.
	target     float64
	perReplica bool
	// why it cannot be read; empty if it can.
	why string
}

// Backends knows the servers of the broker's configuration by their addresses.
type Backends interface {
	// Named is the name of the backend of a kind (signal.KindRedis, signal.KindKafka) with
	// one of the addresses, which are separated by commas, and of a Redis with the
	// database; empty if there is none.
	Named(kind signal.Kind, addresses string, database int) string
}

// Signals are the metrics that the target's autoscalers look at, as a policy's signal at
// path: with the target as the high water for the replicas that run, and half of it as
// the low water. Those that cannot be read are of signal.KindGiven, with the reason in
// missing. It returns nothing if they look at nothing that says anything about GPUs.
func (o *Opinion) Signals(path string, running int64, backends Backends) (specs []signal.Spec, missing signal.Missing) {
	missing = signal.Missing{}
	for i := range o.All {
		a := &o.All[i]
		for _, m := range a.metrics {
			spec, why := m.resolve(running, backends)
			spec.Name = fmt.Sprintf("%s (%s, %s)", path, a, m.name)
			if why != "" {
				spec.Kind, missing[spec.Name] = signal.KindGiven, why
			}
			specs = append(specs, spec)
		}
	}
	return specs, missing
}

// resolve is the metric for so many replicas, and why it cannot be read.
func (m metric) resolve(running int64, backends Backends) (signal.Spec, string) {
	spec := m.spec
	spec.High = m.target
	if m.perReplica {
		spec.PerReplica, spec.High = m.target, m.target*float64(max(running, 1))
	}
	spec.Low = spec.High / 2
	if m.why != "" || m.address == "" {
		return spec, m.why
	}
	backend := ""
	if backends != nil {
		backend = backends.Named(spec.Kind, m.address, m.database)
	}
	if backend == "" && spec.Kind == signal.KindRedis {
		return spec, fmt.Sprintf("no Redis backend of the broker's configuration has the address and the database %d that it names", m.database)
	}
	if backend == "" {
		return spec, fmt.Sprintf("no %s backend of the broker's configuration has the address that it names", spec.Kind)
	}
	spec.Redis.Backend, spec.Kafka.Backend = "", ""
	if spec.Kind == signal.KindRedis {
		spec.Redis.Backend = backend
	} else {
		spec.Kafka.Backend = backend
	}
	return spec, ""
}
