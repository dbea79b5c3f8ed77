package demo

import (
	batchv1 "k8s.io/api/batch/v1"

	"github.com/ebbtide/ebbtide/e2e/demo/stage"
)

// Demand is what the demo submits, and when, for those who play the same day elsewhere.
type Demand struct {
	// Jobs in the order in which they are submitted, by the Teams in turn.
	Jobs  []*batchv1.Job
	Teams []string
	// Wait is how many units are to wait at any time: every stage.FeedEvery, as many jobs are
	// submitted as that takes, Batch at most.
	Wait  int64
	Batch int
}

// Submits returns the first n jobs.
func Submits(c Config, n int) (Demand, error) {
	jobs, err := taken(c)
	if err != nil {
		return Demand{}, err
	}
	f := &feed{config: c, count: stage.NewJobs(), jobs: jobs}
	d := Demand{Wait: f.wanted(), Batch: feedBatch}
	for i := range n {
		d.Jobs = append(d.Jobs, f.job(i))
	}
	for _, b := range borrowers {
		d.Teams = append(d.Teams, b.team)
	}
	return d, nil
}
