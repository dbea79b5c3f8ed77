package agreement

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/e2e/demo"
	"github.com/ebbtide/ebbtide/e2e/demo/stage"
	"github.com/ebbtide/ebbtide/e2e/engine"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/e2e/trainer"
)

// interval of the demo's broker, and of its Prometheus.
const interval = time.Second

// resource that the demo's jobs ask for.
const resource = "nvidia.com/gpu"

// Record plays the demo's day in a lab whose folder is dir, and reads off what was put in
// and what came of it. It writes what the demo does to log.
func Record(ctx context.Context, dir string, log io.Writer) (*Day, error) {
	var out bytes.Buffer
	c := demo.Default()
	c.Dir, c.Out, c.Log = dir, io.MultiWriter(&out, log), log
	if err := demo.Run(ctx, c); err != nil {
		return nil, fmt.Errorf("playing the day in a lab: %w", err)
	}
	return Read(c, dir, out.Bytes())
}

// Read reads it off a day that was played, of which the lab's folder and what the demo wrote
// are kept.
func Read(c demo.Config, dir string, out []byte) (*Day, error) {
	d, err := inputs(c)
	if err != nil {
		return nil, err
	}
	if err := d.readDecisions(dir, c); err != nil {
		return nil, err
	}
	return d, d.readResult(out)
}

// inputs are the curves.
func inputs(c demo.Config) (*Day, error) {
	model := engine.DefaultModel(stage.Service)
	play, err := stage.NewPlay(c.Config, model, int64(c.Nodes))
	if err != nil {
		return nil, fmt.Errorf("reading the day's curve: %w", err)
	}
	d := &Day{
		Speed: c.Speed, Length: c.Compressed(c.To - c.From), Nodes: c.Nodes, Slots: float64(model.Slots),
		ModelLoad: c.ModelLoad, Drain: kubelet.DefaultExitAfter, Interval: interval,
	}
	for at := time.Duration(0); at < d.Length; at += stage.Frame {
		n := float64(play.Day.Replicas(c.From + c.OfDay(at)))
		if k := len(d.Replicas); k == 0 || d.Replicas[k-1].Value != n {
			d.Replicas = append(d.Replicas, Point{At: at, Value: n})
		}
	}
	return d, nil
}

// readDecisions takes the objects from the broker's record, and measures how long things took.
func (d *Day) readDecisions(dir string, c demo.Config) error {
	files, err := filepath.Glob(filepath.Join(dir, "data", "*", "decisions.jsonl"))
	if err != nil {
		return fmt.Errorf("looking for the broker's decisions in %s: %w", dir, err)
	}
	if len(files) != 1 {
		return fmt.Errorf("looking for the broker's decisions: there are %d files in %s, must be one", len(files), dir)
	}
	b := beginning{steps: d.Replicas}
	if err := each(files[0], b.read); err != nil {
		return err
	}
	if b.at.IsZero() {
		return errors.New("reading the broker's decisions: the service never had the curve's second number of replicas")
	}
	r, err := newReader(d, c, b.at)
	if err != nil {
		return err
	}
	if err := each(files[0], r.read); err != nil {
		return err
	}
	return r.finish()
}

// each reads the records of a file.
func each(file string, read func(*lend.Record)) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("reading the broker's decisions: %w", err)
	}
	defer f.Close()
	lines := bufio.NewReaderSize(f, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the broker's decisions: %w", err)
		}
		rec, err := lend.ReadRecord(line)
		if err != nil {
			return fmt.Errorf("reading the broker's decisions: %w", err)
		}
		read(&rec)
	}
}

// beginning finds when the day began. The broker sees that another number of replicas is
// wanted no sooner than the curve has it: what it saw soonest says best when that was.
type beginning struct {
	steps []Point
	next  int // of steps, which it has not seen
	at    time.Time
}

func (b *beginning) read(rec *lend.Record) {
	if len(rec.Snapshot.Lenders) != 1 {
		return
	}
	n := float64(rec.Snapshot.Lenders[0].Desired)
	if b.next == 0 && n != b.steps[0].Value || b.next > 0 && n == b.steps[b.next-1].Value {
		return
	}
	i := slices.IndexFunc(b.steps[b.next:], func(p Point) bool { return p.Value == n })
	if i < 0 {
		return
	}
	if at := rec.Snapshot.Now.Add(-b.steps[b.next+i].At); b.next > 0 && (b.at.IsZero() || at.Before(b.at)) {
		b.at = at
	}
	b.next += i + 1
}

// reader goes through the decisions.
type reader struct {
	day   *Day
	begin time.Time
	ready bool
	last  time.Time
	// loans are those that are open, with what was measured of them in the day.
	loans  map[string]*lent
	booked booked
	// like is what the demo made of each job, by name.
	like map[string]*Job
	seen map[string]bool
}

// lent is an open loan that was not disturbed.
type lent struct {
	job          string
	since, asked time.Time
	disturbed    bool
	started      bool
}

func (r *reader) read(rec *lend.Record) {
	in := &rec.Snapshot
	if !r.ready && len(in.Lenders) == 1 && len(in.Queues) > 0 && len(in.Nodes) == r.day.Nodes {
		r.ready = true
		r.day.Policy, r.day.Cohorts, r.day.Tenants, r.day.Queues = rec.Policy, in.Cohorts, in.Tenants, in.Queues
		r.day.Lender = rules(in.Lenders[0])
		r.day.Flavor, r.day.PerNode = in.Nodes[0].Units[0].Flavor, in.Nodes[0].Units[0].Capacity
	}
	if r.ready && !in.Now.Before(r.begin) {
		r.hear(&in.Lenders[0], in.Now, rec.Policy.Quorum)
	}
	r.line(in)
	r.follow(rec)
}

func (r *reader) since(at time.Time) time.Duration { return at.Sub(r.begin).Round(time.Millisecond) }

// hear notes what was heard of the load, such that whoever looks each sample hears it in time.
func (r *reader) hear(l *lend.Lender, now time.Time, quorum float64) {
	p := Point{At: r.since(now).Truncate(sample), Value: math.Round(l.Load.Requests), Unknown: !l.Load.Known || l.Load.Coverage < quorum}
	if p.Unknown {
		p.Value = 0
	}
	if n := len(r.day.Requests); n == 0 || r.day.Requests[n-1].Value != p.Value || r.day.Requests[n-1].Unknown != p.Unknown {
		r.day.Requests = append(r.day.Requests, p)
	}
}

// line notes which jobs stand in line that did not before. Those that were created in the
// same second do by their UIDs, as the API server drew them.
func (r *reader) line(in *lend.Snapshot) {
	var fresh []*lend.Job
	for i := range in.Jobs {
		if j := r.like[in.Jobs[i].Name]; j != nil && !r.seen[j.Name] {
			r.seen[j.Name] = true
			fresh = append(fresh, &in.Jobs[i])
		}
	}
	slices.SortFunc(fresh, func(a, b *lend.Job) int { return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.UID, b.UID)) })
	for _, j := range fresh {
		job := *r.like[j.Name]
		job.Submit, job.Priority = max(r.since(in.Now), 0), j.Priority
		r.day.Jobs = append(r.day.Jobs, job)
	}
}

// follow measures how long things take that are nobody's work.
func (r *reader) follow(rec *lend.Record) {
	in := &rec.Snapshot
	if at := r.since(in.Now); at >= 0 && at < r.day.Length {
		r.day.Moments = append(r.day.Moments, at)
	}
	// What a decision sees happened at some time since the one before.
	seen := in.Now
	if !r.last.IsZero() {
		seen = r.last.Add(in.Now.Sub(r.last) / 2)
	}
	r.last = in.Now
	r.booked.follow(in.Now, &rec.Plan)
	for i := range in.Loans {
		if l := r.loans[in.Loans[i].Name]; l != nil && in.Loans[i].Live > 0 && !l.started {
			l.started = true
			measured(&r.day.Start, seen.Sub(l.since))
		}
	}
	for _, a := range rec.Plan.Actions {
		switch a.Kind {
		case lend.ActionLend:
			r.loans[a.Loan] = &lent{job: a.Job, since: in.Now, disturbed: a.Attempt > 1}
		case lend.ActionReclaim:
			if l := r.loans[a.Loan]; l != nil {
				l.disturbed, l.asked = true, in.Now
			}
		case lend.ActionReturn:
			r.returned(r.loans[a.Loan], seen)
			delete(r.loans, a.Loan)
		}
	}
}

func (r *reader) returned(l *lent, seen time.Time) {
	if l == nil {
		return
	}
	switch j := r.like[l.job]; {
	case j == nil:
	case !l.asked.IsZero():
		measured(&r.day.Leave, seen.Sub(l.asked)-min(j.Exit, j.Grace))
	case !l.disturbed:
		measured(&r.day.Turnover, seen.Sub(l.since)-j.Lasts)
	}
}

func measured(list *[]time.Duration, d time.Duration) {
	*list = append(*list, d.Round(time.Millisecond))
}

// rules are what of a lender does not change with the moment.
func rules(l lend.Lender) lend.Lender {
	return lend.Lender{
		Name: l.Name, Tenant: l.Tenant, Flavor: l.Flavor, Owned: l.Owned, UnitsPerPod: l.UnitsPerPod, LowWater: l.LowWater, HighWater: l.HighWater,
		Dwell: l.Dwell, Cooldown: l.Cooldown, MaxGrace: l.MaxGrace, Warm: l.Warm, Steps: l.Steps,
	}
}

// mostJobs is more than a day submits: two and a half times what was seen.
const mostJobs = 400

func newReader(d *Day, c demo.Config, begin time.Time) (*reader, error) {
	r := &reader{day: d, begin: begin, loans: map[string]*lent{}, like: map[string]*Job{}, seen: map[string]bool{}}
	demand, err := demo.Submits(c, mostJobs)
	if err != nil {
		return nil, fmt.Errorf("reading the demo's jobs: %w", err)
	}
	for i, from := range demand.Jobs {
		team := demand.Teams[i%len(demand.Teams)]
		j := Job{
			Name: team + "/" + from.Name, Tenant: team, Queue: team + "/" + stage.Queue, Pods: int64(ptr.Deref(from.Spec.Parallelism, 1)),
			Grace: time.Duration(ptr.Deref(from.Spec.Template.Spec.TerminationGracePeriodSeconds, 0)) * time.Second,
		}
		j.PerPod = stage.Units(from, resource) / j.Pods
		if err := j.describe(from); err != nil {
			return nil, fmt.Errorf("job %s: %w", j.Name, err)
		}
		r.like[j.Name] = &j
	}
	return r, nil
}

// finish adds what was measured.
func (r *reader) finish() error {
	if !r.ready {
		return errors.New("reading the broker's decisions: none has the lender, the queues and all nodes")
	}
	if len(r.day.Turnover) == 0 || len(r.day.Start) == 0 || len(r.day.Leave) == 0 {
		return errors.New("reading the broker's decisions: no job ended undisturbed, or none was asked back")
	}
	r.day.Outcome.LentGPUHours = r.day.hours(&r.booked, r.last)
	return nil
}

func (j *Job) describe(from *batchv1.Job) error {
	for _, field := range []struct {
		text string
		to   *time.Duration
	}{
		{from.Annotations[trainer.AnnotationDuration], &j.Lasts},
		{from.Annotations[v1alpha1.AnnotationCheckpointInterval], &j.Checkpoint},
		{from.Spec.Template.Annotations[kubelet.AnnotationExitAfter], &j.Exit},
	} {
		var err error
		if *field.to, err = time.ParseDuration(field.text); err != nil {
			return fmt.Errorf("reading its annotations: %w", err)
		}
	}
	return nil
}

// readResult reads the demo's last line.
func (d *Day) readResult(out []byte) error {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var r stage.Result
	if err := json.Unmarshal(lines[len(lines)-1], &r); err != nil {
		return fmt.Errorf("reading the demo's last line: %w", err)
	}
	o := &d.Outcome
	o.BoundGPUHours, o.EvictedPods, o.Reclaims, o.Loans, o.JobsFinished = r.LentGPUHours, r.EvictedPods, r.Reclaims, r.Loans, r.JobsFinished
	return nil
}
