package traces

import (
	"io/fs"
	"time"
)

// Job is one training job of the ITP trace.
type Job struct {
	// Submit is the offset from the trace's beginning.
	Submit   time.Duration
	Duration time.Duration
	GPUs     int64
}

// ITPJobs returns the jobs of one Microsoft training cluster over 50 days, in
// order of submission.
func ITPJobs() ([]Job, error) {
	return itp(files, "data/ms-itp-2021/cluster03_jobs.csv")
}

func itp(fsys fs.FS, file string) ([]Job, error) {
	var jobs []Job
	err := read(fsys, file, "submit_s,duration_s,num_gpu", func(r *row) {
		j := Job{
			Submit:   time.Duration(r.integer(0, 0)) * time.Second,
			Duration: time.Duration(r.float(1) * float64(time.Second)),
			GPUs:     r.integer(2, 1),
		}
		if n := len(jobs); n > 0 && j.Submit < jobs[n-1].Submit {
			r.fail(0, "no less than the row before")
		}
		jobs = append(jobs, j)
	})
	return jobs, err
}

// Node is one GPU machine of the openb cluster.
type Node struct {
	Name      string
	CPUMilli  int64
	MemoryMiB int64
	GPUs      int64
	Model     string
}

// OpenbNodes returns the 1,213 GPU nodes of a production cluster.
func OpenbNodes() ([]Node, error) {
	return openb(files, "data/alibaba-openb-2023/openb_node_list_gpu_node.csv")
}

func openb(fsys fs.FS, file string) ([]Node, error) {
	var nodes []Node
	err := read(fsys, file, "sn,cpu_milli,memory_mib,gpu,model", func(r *row) {
		nodes = append(nodes, Node{
			Name:      r.fields[0],
			CPUMilli:  r.integer(1, 1),
			MemoryMiB: r.integer(2, 1),
			GPUs:      r.integer(3, 1),
			Model:     r.fields[4],
		})
	})
	return nodes, err
}
