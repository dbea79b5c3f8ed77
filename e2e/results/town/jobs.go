package town

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload"
	"github.com/ebbtide/ebbtide/e2e/traces"
)

// flavor of whole GPUs, and slice that of the thirds into which those of one service can be
// cut: three 2g.20gb are a legal layout of an H100.
const (
	flavor = "gpu"
	slice  = "mig-2g.20gb"
	thirds = 3
	sliced = "m-small"
)

// PerNode is how many GPUs a node has.
const PerNode = 8

// begins is where in the job trace a town's first week does: the busiest 14 days of all
// clusters are its days 14 to 28.
const begins = 14 * Day

// job is one row of the trace.
type job struct {
	submit, duration time.Duration
	gpus             int64
	cluster          string
}

// tenants are the clusters whose jobs are played.
var tenants = []string{"cluster03", "cluster04", "cluster06", "cluster07"}

// taken are the tenants' jobs from one moment of the trace until another, submitted as if
// that was the beginning.
func taken(from, until time.Duration, of []string) ([]job, error) {
	all, err := traces.AllITPJobs(workload.Options{})
	if err != nil {
		return nil, fmt.Errorf("opening jobs: %w", err)
	}
	var out []job
	for {
		j, ok, err := all.Next()
		if err != nil {
			return nil, fmt.Errorf("reading jobs: %w", err)
		}
		if !ok || j.Submit >= until {
			return out, nil
		}
		if j.Submit >= from && slices.Contains(of, j.Tenant) {
			out = append(out, job{j.Submit - from, j.Duration, j.Units(), j.Tenant})
		}
	}
}

// demand is how many jobs a tenant submits from one moment until another, and how many GPUs
// they would hold on average if none waited and each ended within that time.
func demand(jobs []job, tenant string, from, until time.Duration) (n int, gpus float64) {
	for _, j := range jobs {
		if j.cluster == tenant && j.submit >= from && j.submit < until {
			n++
			gpus += float64(j.gpus) * j.duration.Hours() / (until - from).Hours()
		}
	}
	return n, gpus
}

// played are the jobs as the simulator takes them. One on up to a node's GPUs is one pod;
// a larger one is a gang of whole nodes. An elastic one has a pod for each GPU, or for each
// node if it is larger than one.
func (c *Config) played(jobs []job) []sim.Job {
	out := make([]sim.Job, 0, len(jobs))
	for i, j := range jobs {
		d := roll(c.Seed, uint64(i))
		one := sim.Job{
			Name: fmt.Sprintf("%s/job-%05d", j.cluster, i), Tenant: j.cluster, Queue: j.cluster + "/default", Flavor: flavor,
			Submit: j.submit, Duration: j.duration, Pods: 1, UnitsPerPod: j.gpus, Costs: c.Costs.of(d),
		}
		if j.gpus > PerNode {
			one.Pods, one.UnitsPerPod = (j.gpus+PerNode-1)/PerNode, PerNode
		}
		if j.gpus > 1 && d.share() < c.Costs.Elastic {
			if one.Pods == 1 {
				one.Pods, one.UnitsPerPod = j.gpus, 1
			}
			one.MinPods = (one.Pods + 1) / 2
		}
		if j.gpus == 1 && d.share() < c.Small && c.Slices {
			one.Flavor = slice
		}
		out = append(out, one)
	}
	return out
}

// multiplied are the jobs Times each, all but the first of each at another moment of the
// half hours before and after it.
func (c *Config) multiplied(jobs []job) []job {
	if c.Times == 0 || c.Times == 1 {
		return jobs
	}
	d := roll(c.Seed, 1<<33)
	var out []job
	for _, j := range jobs {
		n := int(c.Times)
		if d.share() < c.Times-float64(n) {
			n++
		}
		for k := range n {
			one := j
			if k > 0 {
				one.submit = max(j.submit+time.Duration((d.share()-0.5)*float64(time.Hour)), 0)
			}
			out = append(out, one)
		}
	}
	slices.SortStableFunc(out, func(a, b job) int { return cmp.Compare(a.submit, b.submit) })
	return out
}
