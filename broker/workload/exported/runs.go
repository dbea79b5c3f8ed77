package exported

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/workload/gang"
)

// run is a job as an export tells of it.
type run struct {
	gang.Record
	created time.Time
	// follows says that the job was queued again after this run.
	follows bool
	// before is how long it ran in attempts that were ended and begun anew.
	before time.Duration
	// since is when one that has not ended began to run; zero: it ended.
	since time.Time
}

// notes that several exports have.
const (
	neverRan = "jobs left out because they never ran, so that how long they would have is not known"
	cutOff   = "jobs that still ran when the export was made, counted with the time that they had run by then"
	waits    = "jobs that waited when the export was made, counted with the time that they had run before they were taken back"
	noEnd    = "jobs left out because the export does not say when they ended"
	uneven   = "jobs of pods of different sizes, cut into equal ones"
)

// stream gives the runs in the order of their submission. now is the last moment that the
// export speaks of.
func stream(runs []run, now time.Time, o gang.Options, notes *gang.Notes) *gang.Stream {
	slices.SortStableFunc(runs, func(a, b run) int {
		return cmp.Or(a.created.Compare(b.created), strings.Compare(a.Tenant, b.Tenant), strings.Compare(a.Name, b.Name))
	})
	origin := o.Origin
	if origin.IsZero() && len(runs) > 0 {
		origin = runs[0].created
	}
	again := "jobs begun anew, of which only the last run counts as work, since they do not save it"
	if o.Costs.CheckpointEvery > 0 {
		again = "jobs begun anew, all of whose runs count as work, since they save it"
	}
	i := 0
	return gang.NewStream(o, notes, func() (gang.Record, bool, error) {
		if i == len(runs) {
			return gang.Record{}, false, nil
		}
		r := &runs[i]
		i++
		r.Submit = r.created.Sub(origin)
		if !r.since.IsZero() {
			r.Ran = now.Sub(r.since)
			notes.Count(cutOff)
		}
		if r.before > 0 {
			notes.Count(again)
			if o.Costs.CheckpointEvery > 0 {
				r.Ran += r.before
			}
		}
		return r.Record, true, nil
	})
}
