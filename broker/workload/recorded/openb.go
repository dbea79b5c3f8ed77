package recorded

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload/gang"
	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

// Machine is one GPU machine of the openb cluster.
type Machine struct {
	Name      string
	CPUMilli  int64
	MemoryMiB int64
	GPUs      int64
	Model     string
}

// MachineColumns of the openb cluster's nodes.
var MachineColumns = []string{"sn", "cpu_milli", "memory_mib", "gpu", "model"}

// Machines reads the nodes of the openb cluster, those without a GPU excluded.
func Machines(f *rows.File) ([]Machine, error) {
	if err := f.Expect(MachineColumns, nil); err != nil {
		return nil, err
	}
	var machines []Machine
	err := f.Each(func(r *rows.Row) {
		machines = append(machines, Machine{
			Name:     r.Named("sn"),
			CPUMilli: r.Whole("cpu_milli", 1), MemoryMiB: r.Whole("memory_mib", 1),
			GPUs: r.Count("gpu", 1), Model: r.Named("model"),
		})
	})
	return machines, err
}

// Nodes are the machines, by name, whose flavors are their models.
func Nodes(machines []Machine) []sim.Node {
	var nodes []sim.Node
	for _, m := range machines {
		nodes = append(nodes, sim.Node{Name: m.Name, Units: []sim.NodeUnits{{Flavor: m.Model, Count: m.GPUs}}})
	}
	slices.SortFunc(nodes, func(a, b sim.Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes
}

// PodColumns of the openb cluster's pods.
var PodColumns = []string{
	"name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec", "qos", "pod_phase",
	"creation_time", "deletion_time", "scheduled_time",
}

// pod is one pod of the openb cluster.
type pod struct {
	name, qos         string
	gpus, milli       int64
	submit, run, gone time.Duration
	ran               bool
}

// openbPod reads a row.
func openbPod(r *rows.Row) pod {
	p := pod{
		name: r.Named("name"), qos: r.Named("qos"),
		gpus: r.Count("num_gpu", 0), milli: r.Count("gpu_milli", 0),
		submit: r.Seconds("creation_time"), gone: r.Seconds("deletion_time"),
	}
	if p.ran = r.Has("scheduled_time"); p.ran {
		p.run = r.Seconds("scheduled_time")
	}
	if p.gone < p.submit || p.ran && (p.run < p.submit || p.gone < p.run) {
		r.Fail("deletion_time", "a time after creation_time and scheduled_time")
	}
	return p
}

// OpenbJobs reads the best-effort pods of the openb cluster as the jobs of one tenant.
func OpenbJobs(f *rows.File, o gang.Options) (*gang.Stream, error) {
	if err := f.Expect(PodColumns, nil); err != nil {
		return nil, err
	}
	notes, last := &gang.Notes{}, time.Duration(0)
	notes.Say("pods of other classes than BE are no jobs")
	return gang.NewStream(o, notes, gang.Rows(f, func(r *rows.Row) (gang.Record, bool) {
		p := openbPod(r)
		if p.submit < last {
			r.Fail("creation_time", "no less than the row before")
		}
		last = p.submit
		switch {
		case r.Err() != nil || p.qos != "BE":
			return gang.Record{}, false
		case p.gpus > 0 && !p.ran:
			notes.Count("pods left out because they never ran")
			return gang.Record{}, false
		case p.gpus > 0 && p.milli < 1000:
			notes.Count("pods with a part of a GPU, counted as if they had it whole")
		}
		return gang.Record{Name: p.name, Tenant: "openb", Submit: p.submit, Ran: p.gone - p.run, Units: p.gpus, Pods: 1}, true
	})), nil
}

// OpenbOnline reads how many GPUs the latency-sensitive pods of the openb cluster held over
// time, parts of one included, until the last of all its pods was gone.
func OpenbOnline(f *rows.File) (sim.Curve, error) {
	if err := f.Expect(PodColumns, nil); err != nil {
		return nil, err
	}
	var changes []sim.Point // by how much, from when on
	var end time.Duration
	err := f.Each(func(r *rows.Row) {
		p := openbPod(r)
		end = max(end, p.gone)
		if p.qos == "LS" && p.ran && p.gone > p.run {
			held := float64(p.gpus*p.milli) / 1000
			changes = append(changes, sim.Point{At: p.run, Value: held}, sim.Point{At: p.gone, Value: -held})
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(changes, func(a, b sim.Point) int { return cmp.Compare(a.At, b.At) })
	c := sim.Curve{{}}
	set := func(at time.Duration, value float64) {
		if last := &c[len(c)-1]; last.At == at {
			last.Value = value
		} else {
			c = append(c, sim.Point{At: at, Value: value})
		}
	}
	var held float64
	for _, change := range changes {
		held += change.Value
		set(change.At, math.Round(held*1000)/1000)
	}
	set(end, math.NaN())
	return c, nil
}
