package workload

import (
	"io"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload/recorded"
	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

// Unit is what the values of a Load count.
type Unit string

// The units of loads.
const (
	Unsaid    Unit = ""                    // plain CSV: who has the file knows
	PerSecond Unit = "requests per second" // times the seconds that one takes is in flight
	Nodes     Unit = "nodes held"          // by the service's replicas
	GPUs      Unit = "GPUs held"           // by the service's replicas
)

// Load is what was recorded of one service.
type Load struct {
	// Service is empty where the file has only one, and does not name it.
	Service string
	Unit    Unit
	// Curve is not a number where nothing was recorded: in holes, before the first value and
	// after the last. Its times are since Start, which is zero where the file has no dates.
	Curve sim.Curve
	Start time.Time
}

// End is from when on nothing more was recorded.
func (l *Load) End() time.Duration {
	if n := len(l.Curve); n > 0 {
		return l.Curve[n-1].At
	}
	return 0
}

// requestStep is the step of a curve that is made of single requests.
const requestStep = 10 * time.Second

// ReadLoad reads the load of one or more services, in the file's order. name is the file's,
// for errors.
func ReadLoad(name string, r io.Reader) ([]Load, error) {
	f, err := rows.Open(name, r)
	if err != nil {
		return nil, err
	}
	switch format := formatOf(f); format {
	case CSV:
		return plainLoad(f)
	case AzureWeek:
		rates, begin, err := recorded.AzureWeek(f)
		return one(Load{Unit: PerSecond, Curve: recorded.AzureCurve(rates, recorded.Mid), Start: begin}, err)
	case AzureRequests:
		requests, err := recorded.AzureRequests(f)
		if err != nil {
			return nil, err
		}
		return one(Load{Unit: PerSecond, Curve: recorded.ArrivalCurve(requests, requestStep), Start: requests[0].At}, nil)
	case ServeGen:
		models, err := recorded.Models(f)
		if err != nil {
			return nil, err
		}
		var loads []Load
		for i := range models {
			loads = append(loads, Load{Service: models[i].Name, Unit: PerSecond, Curve: models[i].Curve()})
		}
		return loads, nil
	case DeepSeek:
		steps, begin, err := recorded.Steps(f)
		return one(Load{Unit: Nodes, Curve: recorded.NodeCurve(steps), Start: begin}, err)
	case OpenbPods:
		held, err := recorded.OpenbOnline(f)
		return one(Load{Unit: GPUs, Curve: held}, err)
	default:
		return nil, other(f, format, "load", "time,value or time,service,value", string(AzureWeek), string(AzureRequests), string(ServeGen), string(DeepSeek), string(OpenbPods))
	}
}

func one(l Load, err error) ([]Load, error) {
	if err != nil {
		return nil, err
	}
	return []Load{l}, nil
}
