package recorded

import (
	"time"

	"github.com/ebbtide/ebbtide/broker/workload/gang"
	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

// GFSColumns of a job log in the form of GFS (arXiv 2509.11134).
var GFSColumns = []string{
	"job_name", "organization", "gpu_model", "cpu_request", "gpu_request", "worker_num", "submit_time", "duration", "job_type",
}

// highPriority is what jobs of the type HP have; spot jobs have 0.
const highPriority = 100

// GFS reads such a log: worker_num pods of gpu_request GPUs each, in seconds from the
// first job on.
func GFS(f *rows.File, o gang.Options) (*gang.Stream, error) {
	if err := f.Expect(GFSColumns, nil); err != nil {
		return nil, err
	}
	notes, last := &gang.Notes{}, time.Duration(0)
	notes.Say("gpu_request is read as the GPUs of one worker")
	return gang.NewStream(o, notes, gang.Rows(f, func(r *rows.Row) (gang.Record, bool) {
		pods := r.Count("worker_num", 1)
		one := gang.Record{
			Name: r.Named("job_name"), Tenant: r.Named("organization"), Flavor: r.Text("gpu_model"),
			Submit: r.Seconds("submit_time"), Ran: r.Seconds("duration"),
			Units: pods * r.Count("gpu_request", 0), Pods: pods,
		}
		if kind := r.Text("job_type"); kind == "HP" {
			one.Priority = highPriority
		} else if kind != "Spot" {
			r.Fail("job_type", "HP or Spot")
		}
		if one.Submit < last {
			r.Fail("submit_time", "no less than the row before")
		}
		last = one.Submit
		return one, true
	})), nil
}
