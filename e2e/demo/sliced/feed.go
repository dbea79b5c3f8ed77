package sliced

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/e2e/demo/stage"
	"github.com/ebbtide/ebbtide/e2e/traces"
)

const (
	// feedBatch bounds the rate of submissions.
	feedBatch = 8
	// shortest job, in real time: the programs need some for a job, however short.
	shortest = 2 * time.Second
)

// feed submits jobs of one slice, which last as long as those of the trace, as their
// teams' own users, so that enough of each size always wait.
type feed struct {
	config Config
	count  *stage.Jobs
	// jobs by borrower: those of the trace in turn.
	jobs    [][]traces.Job
	clients []kubernetes.Interface
	next    []int
}

func newFeed(c Config, t *stage.Town, count *stage.Jobs) (*feed, error) {
	all, err := traces.ITPJobs()
	if err != nil {
		return nil, err
	}
	f := &feed{config: c, count: count, next: make([]int, len(borrowers))}
	for i, b := range borrowers {
		var jobs []traces.Job
		for j := i; j < len(all); j += len(borrowers) {
			jobs = append(jobs, all[j])
		}
		client, err := t.User(b.team)
		if err != nil {
			return nil, err
		}
		f.jobs, f.clients = append(f.jobs, jobs), append(f.clients, client)
	}
	return f, nil
}

// job makes the i-th job of a borrower.
func (f *feed) job(b, i int) *batchv1.Job {
	t := f.jobs[b][i%len(f.jobs[b])]
	random := rand.New(rand.NewPCG(f.config.Seed+uint64(b), uint64(i)))
	spec := stage.PodSpec(borrowers[b].size.resource, 1, 1+random.Int64N(2))
	exit := time.Duration(200+random.IntN(800)) * time.Millisecond
	return f.config.Job(fmt.Sprintf("itp-%s-%04d", borrowers[b].size.flavor, i+1), 1, spec, max(f.config.Compressed(t.Duration), shortest), exit)
}

// fill submits jobs until enough of each size wait, at most a batch, and reports whether
// enough do.
func (f *feed) fill(ctx context.Context) (bool, error) {
	enough := true
	for i, b := range borrowers {
		short := b.waiting - int(f.count.Waiting(func(j *batchv1.Job) int64 { return stage.Units(j, b.size.resource) }))
		enough = enough && short <= 0
		for range min(short, feedBatch) {
			job := f.job(i, f.next[i])
			f.next[i]++
			if err := f.count.Submit(ctx, f.clients[i], b.team, job); err != nil {
				return false, err
			}
		}
	}
	return enough, nil
}
