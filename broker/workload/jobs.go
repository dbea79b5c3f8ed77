package workload

import (
	"bufio"
	"hash/fnv"
	"io"
	"math"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload/exported"
	"github.com/ebbtide/ebbtide/broker/workload/gang"
	"github.com/ebbtide/ebbtide/broker/workload/recorded"
	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

// Options are what histories do not say.
type Options = gang.Options

// Jobs are a stream of jobs: a sim.Jobs that has notes.
type Jobs interface {
	sim.Jobs
	// Notes are what was assumed and left out so far, in words.
	Notes() []string
}

// OpenJobs begins to read jobs. name is the file's, for errors. The file must stay open
// for as long as the stream is read.
func OpenJobs(name string, r io.Reader, o Options) (Jobs, error) {
	first, r := peek(r)
	if first == '{' || first == '[' { // of which it says what is wrong
		return stream(exported.Objects(name, r, o))
	}
	f, err := rows.Open(name, r)
	if err != nil {
		return nil, err
	}
	switch format := formatOf(f); format {
	case CSV:
		return stream(plainJobs(f, o))
	case ITP:
		return stream(recorded.ITP(f, o))
	case Slurm:
		return stream(exported.Slurm(f, o))
	case GFS:
		return stream(recorded.GFS(f, o))
	case OpenbPods:
		return stream(recorded.OpenbJobs(f, o))
	default:
		return nil, other(f, format, "jobs", "columns name, tenant, submit, duration, gpus", string(Slurm), string(Objects), string(ITP), string(GFS), string(OpenbPods))
	}
}

// peek returns the first byte that is no space, and a reader that begins before it.
func peek(r io.Reader) (byte, io.Reader) {
	b := bufio.NewReader(r)
	for n := 1; ; n++ {
		ahead, err := b.Peek(n)
		if err != nil {
			return 0, b
		}
		if c := ahead[n-1]; c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c, b
		}
	}
}

// stream is the interface of what is there, and of nothing the nil interface.
func stream(s *gang.Stream, err error) (Jobs, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

var (
	jobColumns = []string{"name", "tenant", "submit", "duration", "gpus"}
	jobExtras  = []string{"pods", "min_pods", "priority", "checkpoint_every", "flavor", "queue"}
)

// plainJobs reads jobs in columns.
func plainJobs(f *rows.File, o Options) (*gang.Stream, error) {
	if err := f.Expect(jobColumns, jobExtras); err != nil {
		return nil, err
	}
	notes := &gang.Notes{}
	if !slices.Contains(f.Header(), "pods") {
		notes.Say("jobs of more than %d GPUs are cut into equal pods: the file does not say how they were", o.MostPodUnits())
	}
	p := plain{clock: rows.Clock{Origin: o.Origin}, last: math.MinInt64, names: map[uint64]bool{}}
	return gang.NewStream(o, notes, gang.Rows(f, p.record)), nil
}

// plain is how far a file was read.
type plain struct {
	clock rows.Clock
	last  time.Duration
	names map[uint64]bool // by hash: a file may be longer than memory
}

func (p *plain) record(r *rows.Row) (gang.Record, bool) {
	one := gang.Record{
		Name: r.Named("name"), Tenant: r.Named("tenant"), Flavor: r.Text("flavor"), Queue: r.Text("queue"),
		Submit: p.clock.Since(r, "submit"), Ran: r.Seconds("duration"), Units: r.Count("gpus", 1),
	}
	if r.Has("pods") {
		if one.Pods = r.Count("pods", 1); one.Pods > 0 && one.Units%one.Pods != 0 {
			r.Fail("pods", "equal pods: a divisor of gpus")
		}
	}
	if r.Has("min_pods") {
		if one.MinPods = r.Count("min_pods", 0); one.MinPods > 0 && one.MinPods > one.Pods {
			r.Fail("min_pods", "at most pods, which must be given")
		}
	}
	if r.Has("priority") {
		one.Priority = r.Priority("priority")
	}
	if r.Has("checkpoint_every") {
		one.Saves = r.Seconds("checkpoint_every")
	}
	if r.Err() != nil {
		return one, false
	}
	if one.Submit < p.last {
		r.Fail("submit", "no earlier than the row before: sort the file by submit")
	}
	p.last = one.Submit
	if hash := hashed(gang.Name(one.Tenant, one.Name)); p.names[hash] {
		r.Fail("name", "a name that no row before has in its namespace, which is the tenant where none is given")
	} else {
		p.names[hash] = true
	}
	return one, true
}

func hashed(name string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, name)
	return h.Sum64()
}
