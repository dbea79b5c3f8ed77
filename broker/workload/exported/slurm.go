package exported

import (
	"strconv"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/workload/gang"
	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

// SlurmColumns that sacct must print; it may print others. Account is the tenant.
var SlurmColumns = []string{"JobID", "Account", "Submit", "Elapsed", "State", "AllocTRES"}

// slurmTime is how sacct prints times.
const slurmTime = "2006-01-02T15:04:05"

// Slurm reads what sacct -P printed. Steps are no jobs; the tasks of an array and the parts
// of a heterogeneous job are jobs of their own. Of a job that was requeued, the rows of
// sacct -D are put together.
func Slurm(f *rows.File, o gang.Options) (*gang.Stream, error) {
	if err := f.Need(SlurmColumns...); err != nil {
		return nil, err
	}
	s := slurm{notes: &gang.Notes{}, zone: o.ZoneOrUTC(), index: map[string]int{}}
	s.notes.Say("times do not say their zone, and are read as %s", s.zone)
	if err := f.Each(s.row); err != nil {
		return nil, err
	}
	return stream(s.runs, time.Time{}, o, s.notes), nil
}

type slurm struct {
	notes *gang.Notes
	zone  *time.Location
	runs  []run
	index map[string]int // of runs, by job and number
}

func (s *slurm) row(r *rows.Row) {
	id := r.Named("JobID")
	if strings.Contains(id, ".") {
		return // a step
	}
	state, _, _ := strings.Cut(r.Named("State"), " ") // CANCELLED by 1000
	elapsed := r.Elapsed("Elapsed")
	if strings.Contains(id, "[") || elapsed == 0 || r.Text("Submit") == "Unknown" {
		s.notes.Count(neverRan)
		return
	}
	one := run{created: r.Stamp("Submit", slurmTime, s.zone)}
	one.Name, one.Tenant, one.Ran = id, r.Named("Account"), elapsed
	s.tres(r, &one)
	if r.Err() != nil {
		return
	}
	if one.Units == 0 {
		s.notes.Count(gang.NoGPU)
		return
	}
	switch strings.TrimSuffix(state, "+") {
	case "COMPLETED":
	case "RUNNING", "SUSPENDED", "STOPPED", "COMPLETING":
		s.notes.Count(cutOff)
	case "REQUEUED", "PREEMPTED", "NODE_FAIL", "REQUEUE_HOLD", "RESIZING":
		one.follows = true
	default:
		s.notes.Count("jobs that failed, were cancelled or ran out of time, counted with the time that they ran")
	}
	s.add(one)
}

// add puts a run to those of the same job: sacct prints each run of one that was requeued,
// with the moment at which it was queued again as Submit.
func (s *slurm) add(one run) {
	i, known := s.index[one.Name]
	if !known {
		s.index[one.Name] = len(s.runs)
		s.runs = append(s.runs, one)
		return
	}
	first, last := s.runs[i], one
	if last.created.Before(first.created) {
		first, last = last, first
	}
	if !first.follows { // Slurm has begun to count its jobs anew
		one.Name += "-" + one.created.Format("20060102150405")
		s.runs = append(s.runs, one)
		return
	}
	last.before += first.before + first.Ran
	last.created = first.created
	s.runs[i] = last
}

// tres reads a job's GPUs from its trackable resources: gres/gpu=4, gres/gpu:a100=4 with their
// type, and node=2.
func (s *slurm) tres(r *rows.Row, one *run) {
	var typed int64
	var types []string
	counts := map[string]int64{}
	for _, part := range strings.Split(r.Text("AllocTRES"), ",") {
		key, value, _ := strings.Cut(part, "=")
		kind, is := strings.CutPrefix(key, "gres/gpu:")
		if !is && key != "gres/gpu" && key != "node" {
			continue
		}
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || n < 0 {
			r.Fail("AllocTRES", key+" to be a whole number")
			return
		}
		if counts[key] = n; is {
			typed, types = typed+n, append(types, kind)
		}
	}
	if len(types) == 1 {
		one.Flavor = strings.Clone(types[0])
	} else if len(types) > 1 {
		s.notes.Count("jobs with GPUs of several types, counted as if they were of one")
	}
	one.Units = max(counts["gres/gpu"], typed)
	if nodes := counts["node"]; nodes > 0 && one.Units > 0 {
		if one.Units%nodes == 0 {
			one.Pods = nodes
		} else {
			s.notes.Count(uneven)
		}
	}
}
