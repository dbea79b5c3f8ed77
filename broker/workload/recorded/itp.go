package recorded

import (
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/broker/workload/gang"
	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

// ITPColumns of the training jobs of Microsoft's ITP clusters.
var ITPColumns = []string{"submit_s", "duration_s", "num_gpu", "cluster"}

// ITP reads training jobs whose tenants are the clusters. The recording says how long a
// job ran, not how it was cut into pods.
func ITP(f *rows.File, o gang.Options) (*gang.Stream, error) {
	if err := f.Expect(ITPColumns, nil); err != nil {
		return nil, err
	}
	notes, n, last := &gang.Notes{}, 0, time.Duration(0)
	notes.Say("jobs of more than %d GPUs are cut into equal pods: the recording does not say how they were", o.MostPodUnits())
	return gang.NewStream(o, notes, gang.Rows(f, func(r *rows.Row) (gang.Record, bool) {
		n++
		one := gang.Record{
			Name: fmt.Sprintf("itp-%06d", n), Tenant: r.Named("cluster"),
			Submit: r.Seconds("submit_s"), Ran: r.Seconds("duration_s"), Units: r.Count("num_gpu", 1),
		}
		if one.Submit < last {
			r.Fail("submit_s", "no less than the row before")
		}
		last = one.Submit
		return one, true
	})), nil
}
