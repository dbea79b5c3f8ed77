package demo

import (
	batchv1 "k8s.io/api/batch/v1"

	"github.com/ebbtide/ebbtide/e2e/demo/stage"
)

// Demand is what the demo submits, for those who play the same day elsewhere.
type Demand struct {
	// Jobs in the order in which they are submitted, by the Teams in turn.
	Jobs  []*batchv1.Job
	Teams []string
}

// Submits returns the first n jobs.
func Submits(c Config, n int) (Demand, error) {
	jobs, err := taken(c)
	if err != nil {
		return Demand{}, err
	}
	f := &feed{config: c, count: stage.NewJobs(), jobs: jobs}
	var d Demand
	for i := range n {
		d.Jobs = append(d.Jobs, f.job(i))
	}
	for _, b := range borrowers {
		d.Teams = append(d.Teams, b.team)
	}
	return d, nil
}
