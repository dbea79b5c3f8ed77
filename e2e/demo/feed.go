package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/e2e/demo/stage"
	"github.com/ebbtide/ebbtide/e2e/traces"
)

const (
	// waitShare is how much must wait at any time, as a multiple of all units.
	waitShare = 1.5
	// largestShare is the largest gang that is submitted, as a share of all units.
	// In a small cluster a few large gangs would be all of the demand, and what they
	// leave over would stay idle for want of smaller ones. From 64 nodes on it keeps
	// every job of the trace, whose largest asks for 64 GPUs.
	largestShare = 0.125
	// feedBatch bounds the rate of submissions.
	feedBatch = 20
)

// feed submits the jobs of the trace in order, as their teams' own users, so that
// enough of them always wait.
type feed struct {
	config  Config
	count   *stage.Jobs
	jobs    []traces.Job
	clients []kubernetes.Interface // of borrowers
	next    int
}

// taken are the jobs of the trace that are submitted.
func taken(c Config) ([]traces.Job, error) {
	all, err := traces.ITPJobs()
	if err != nil {
		return nil, err
	}
	var jobs []traces.Job
	for _, j := range all {
		if float64(j.GPUs) <= largestShare*float64(c.units()) {
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

func newFeed(c Config, t *stage.Town, count *stage.Jobs) (*feed, error) {
	jobs, err := taken(c)
	if err != nil {
		return nil, err
	}
	f := &feed{config: c, count: count, jobs: jobs}
	for _, b := range borrowers {
		client, err := t.User(b.team)
		if err != nil {
			return nil, err
		}
		f.clients = append(f.clients, client)
	}
	return f, nil
}

// job makes the i-th job of the trace.
func (f *feed) job(i int) *batchv1.Job {
	t := f.jobs[i%len(f.jobs)]
	random := rand.New(rand.NewPCG(f.config.Seed, uint64(i)))
	pods, each := int32(1), t.GPUs
	if each > gpusPerNode {
		pods, each = int32((each+gpusPerNode-1)/gpusPerNode), gpusPerNode
	}
	spec := stage.PodSpec(resourceGPU, each, 1+random.Int64N(3))
	exit := time.Duration(200+random.IntN(1800)) * time.Millisecond
	return f.config.Job(fmt.Sprintf("itp-%04d", i+1), pods, spec, max(f.config.Compressed(t.Duration), time.Millisecond), exit)
}

// units is what a job asks for.
func units(j *batchv1.Job) int64 { return stage.Units(j, resourceGPU) }

// wanted is how many units are to wait.
func (f *feed) wanted() int64 { return int64(waitShare * float64(f.config.units())) }

// fill submits jobs until enough wait, at most a batch of them, and reports
// whether enough do.
func (f *feed) fill(ctx context.Context) (bool, error) {
	short := f.wanted() - f.count.Waiting(units)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for n := 0; short > 0 && n < feedBatch; n++ {
		team := f.next % len(borrowers)
		job := f.job(f.next)
		f.next++
		short -= units(job)
		group.Go(func() error { return f.count.Submit(ctx, f.clients[team], borrowers[team].team, job) })
	}
	return short <= 0, group.Wait()
}
