package sim

import (
	"fmt"
	"math"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// fullest starts jobs in order, each pod where the least is free, and never stops one. It
// looks at no more than there is to do.
type fullest struct{ places []Place }

func (*fullest) Name() string { return "fullest" }

func (f *fullest) Decide(w *World) time.Duration {
	for i := 0; i < len(w.Waiting()) && w.FreeUnits(0) > 0; {
		j := w.Waiting()[i]
		if j.Units() > w.FreeUnits(0) || !f.place(w, j) {
			i++
			continue
		}
		w.Start(j, f.places) // and the next one is at i
	}
	return 0
}

// place finds room for pods on one spot each, or for one after the other on empty ones.
func (f *fullest) place(w *World, j *JobState) bool {
	f.places = f.places[:0]
	spot, ok := w.Fullest(0, j.Units())
	if ok {
		f.places = append(f.places, Place{spot, Nobody, j.Pods})
		return true
	}
	left := j.Pods
	for i := range w.Spots() {
		if n := min(w.Spots()[i].Free()/j.UnitsPerPod, left); n > 0 {
			f.places, left = append(f.places, Place{int32(i), Nobody, n}), left-n
		}
		if left == 0 {
			return true
		}
	}
	return false
}

// stream draws jobs, shaped as a research cluster's are: most are small and short, and most
// of the work is that of a few.
type stream struct {
	draws *Draws
	left  int
	every time.Duration
	at    time.Duration
	name  int
}

func (s *stream) Next() (Job, bool, error) {
	if s.left == 0 {
		return Job{}, false, nil
	}
	s.left--
	s.name++
	s.at += s.draws.Wait(s.every)
	j := Job{Name: "job-" + strconv.Itoa(s.name), Flavor: "gpu", Submit: s.at, Pods: 1, UnitsPerPod: 1}
	switch d := s.draws.Below(100); {
	case d >= 99:
		j.Pods, j.UnitsPerPod = 4, 8
	case d >= 89:
		j.UnitsPerPod = 8
	case d >= 83:
		j.UnitsPerPod = 4
	}
	j.Duration = time.Duration(3 * math.Exp(s.draws.Share()*2) * float64(time.Hour))
	j.Costs = Costs{CheckpointEvery: 15 * minute, Grace: 30 * time.Second, Exit: 5 * time.Second, Restart: minute}
	return j, true, nil
}

// fleet is a cluster of nodes of 8 for some days, with five services on a third of it whose
// load changes every few minutes.
func fleet(nodes, days, jobs int) *Scenario {
	length := time.Duration(days) * 24 * time.Hour
	s := &Scenario{
		Start: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), Length: length, Drain: 5 * 24 * time.Hour,
		Jobs: &stream{draws: NewDraws(1), left: jobs, every: length / time.Duration(jobs+1)},
	}
	owned := int64(nodes/15) * 8
	for i := range 5 {
		var load Curve
		for at := time.Duration(0); at < length; at += 10 * minute {
			wave := 0.5 - 0.4*math.Cos(2*math.Pi*at.Hours()/24+float64(i))
			load = append(load, Point{at, math.Round(wave * float64(owned) * 10 * 0.6)})
		}
		s.Services = append(s.Services, Service{
			Lender: lend.Lender{Name: fmt.Sprintf("serving/%d", i), Flavor: "gpu", Owned: owned, UnitsPerPod: 1 << (i % 4)},
			Load:   load, Slots: float64(int(10) << (i % 4)), Target: 0.7,
			ScaleDownAfter: 5 * minute, Reload: 30 * time.Second, Drain: 5 * time.Second,
		})
	}
	for i := range nodes {
		n := Node{Name: fmt.Sprintf("node-%05d", i), Units: []NodeUnits{{"gpu", 8}}}
		if k := i / max(nodes/15, 1); k < 5 {
			n.Home = s.Services[k].Lender.Name
		}
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

// BenchmarkEngine plays scenarios with a policy that does next to nothing.
func BenchmarkEngine(b *testing.B) {
	for _, c := range []struct{ nodes, days, jobs int }{{70, 1, 600}, {1250, 60, 69_351}, {3750, 60, 200_000}} {
		b.Run(fmt.Sprintf("%dGPUs-%dd-%djobs", 8*c.nodes, c.days, c.jobs), func(b *testing.B) {
			var r *Result
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if r, err = Run(fleet(c.nodes, c.days, c.jobs), &fullest{}, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(r.Events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(r.Events), "events")
			b.ReportMetric(r.Utilization(), "utilization")
			b.ReportMetric(float64(r.Finished), "finished")
		})
	}
}

// weighing plays as it says until a moment, and weighs the heap then.
type weighing struct {
	Policy
	at    time.Duration
	bytes uint64
	jobs  int
}

func (p *weighing) Decide(w *World) time.Duration {
	again := p.Policy.Decide(w)
	if p.bytes == 0 && w.Now() >= p.at {
		p.bytes, p.jobs = heap(), len(w.Running())+len(w.Waiting())
	}
	return again
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// impatient stops each job once, a while after it has started.
type impatient struct{ fullest }

func (p *impatient) Decide(w *World) time.Duration {
	p.fullest.Decide(w)
	for _, j := range w.Running() {
		if j.Evictions == 0 && w.Now()-j.Since > 10*minute {
			w.Stop(j, 0)
		}
	}
	return 0
}

// What a world keeps grows with the jobs that are waiting or running, not with those that
// were, nor with those that were stopped.
func TestMemoryIsThatOfLiveJobs(t *testing.T) {
	weigh := func(days int) (bytes uint64, jobs int) {
		s := fleet(70, days, 300*days)
		s.Sample = time.Hour
		for i := range s.Services { // curves are as long as they are
			s.Services[i].Load = Curve{{0, 100}}
		}
		before := heap()
		p := &weighing{Policy: &impatient{}, at: s.Length - time.Hour}
		mustRun(t, s, p)
		return p.bytes - min(before, p.bytes), p.jobs
	}
	weigh(1)
	short, few := weigh(4)
	long, many := weigh(40)
	t.Logf("%d bytes with %d jobs after 4 days, %d bytes with %d jobs after 40", short, few, long, many)
	if long > short*3/2+32<<10 || many > few*3/2 {
		t.Errorf("%d bytes with %d jobs after 4 days became %d bytes with %d jobs after 40", short, few, long, many)
	}
}
