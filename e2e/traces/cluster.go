package traces

import (
	"time"

	"github.com/ebbtide/ebbtide/broker/workload"
	"github.com/ebbtide/ebbtide/broker/workload/recorded"
)

// Job is one training job of the ITP trace.
type Job struct {
	// Submit is the offset from the trace's beginning.
	Submit   time.Duration
	Duration time.Duration
	GPUs     int64
}

// AllITPJobs returns the training jobs of ten Microsoft clusters over 60 days, in order of
// submission. Their tenants are the clusters, "cluster01" to "cluster10".
func AllITPJobs(o workload.Options) (workload.Jobs, error) {
	f, err := open(itpFile)
	if err != nil {
		return nil, err
	}
	return workload.OpenJobs(itpFile, f, o)
}

// ITPJobs returns the jobs of one of the clusters, 03, over 50 days, in order of
// submission.
func ITPJobs() ([]Job, error) {
	all, err := AllITPJobs(workload.Options{})
	if err != nil {
		return nil, err
	}
	var jobs []Job
	for {
		j, ok, err := all.Next()
		if err != nil || !ok {
			return jobs, err
		}
		if j.Tenant == "cluster03" {
			jobs = append(jobs, Job{Submit: j.Submit, Duration: j.Duration, GPUs: j.Units()})
		}
	}
}

// Node is one GPU machine of the openb cluster.
type Node = recorded.Machine

// OpenbNodes returns the 1,213 GPU nodes of a production cluster.
func OpenbNodes() ([]Node, error) {
	f, err := table(machinesFile)
	if err != nil {
		return nil, err
	}
	return recorded.Machines(f)
}
