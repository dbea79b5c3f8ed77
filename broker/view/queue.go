package view

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"
)

// States of a job in a queue.
const (
	// StateWaiting: the job is suspended and has no loan.
	StateWaiting = "Waiting"
	// StateAdmitted: the job may hold units.
	StateAdmitted = "Admitted"
	// A job whose loan is asked back is StateReclaiming.
)

// QueuedJob is what the table of a queue shows of one job.
type QueuedJob struct {
	Name  string
	Queue string
	// Priority is nil when it is not known.
	Priority *int32
	// Pods of the gang, and the units of all of them.
	Pods, Units int64
	State       string
	Reason      string
	Created     time.Time
	// FIFO: the job's queue goes by age alone.
	FIFO bool
	// Position among the waiting jobs of its queue, from 1; 0 for a job that does
	// not wait, or whose position is not known until PlaceInQueues fills it in.
	Position int
	// Start is when it is likely to start; zero if that is not known.
	Start time.Time
}

// PlaceInQueues sorts the jobs by queue, the waiting ones first in the order in
// which they are considered, then the others by age; and it numbers the waiting
// ones of each queue from 1. Positions that are known come first and stay. The
// others go by priority unless the queue is FIFO, then by age, then by name;
// unknown priorities count as 0, the default of a cluster.
func PlaceInQueues(jobs []QueuedJob) {
	slices.SortStableFunc(jobs, func(a, b QueuedJob) int {
		return cmp.Or(
			cmp.Compare(a.Queue, b.Queue),
			cmp.Compare(rank(a), rank(b)),
			comparePosition(a, b),
			comparePriority(a, b),
			a.Created.Compare(b.Created),
			cmp.Compare(a.Name, b.Name),
		)
	})
	position := 0
	for i := range jobs {
		if i == 0 || jobs[i].Queue != jobs[i-1].Queue {
			position = 0
		}
		if jobs[i].State != StateWaiting {
			jobs[i].Position = 0
			continue
		}
		position = max(position+1, jobs[i].Position)
		jobs[i].Position = position
	}
}

// comparePosition puts known positions before unknown ones.
func comparePosition(a, b QueuedJob) int {
	known := func(j QueuedJob) int {
		if j.State != StateWaiting || j.Position == 0 {
			return math.MaxInt
		}
		return j.Position
	}
	return cmp.Compare(known(a), known(b))
}

func rank(j QueuedJob) int {
	if j.State == StateWaiting {
		return 0
	}
	return 1
}

// comparePriority puts the higher priority first among waiting jobs of a queue
// that goes by it.
func comparePriority(a, b QueuedJob) int {
	if a.State != StateWaiting || b.State != StateWaiting || a.FIFO {
		return 0
	}
	return cmp.Compare(priorityOf(b), priorityOf(a))
}

func priorityOf(j QueuedJob) int32 {
	if j.Priority == nil {
		return 0
	}
	return *j.Priority
}

// Queue is the table of the jobs of one or more queues, in the order given.
func Queue(jobs []QueuedJob, now time.Time) Table {
	t := Table{Columns: columns("NAME", "QUEUE", "POSITION", "PRIORITY", "PODS", "UNITS", "STATE", "REASON", "START", "AGE")}
	for _, j := range jobs {
		position, priority, start := None, Unknown, None
		if j.Position > 0 {
			position = strconv.Itoa(j.Position)
		}
		if j.Priority != nil {
			priority = strconv.FormatInt(int64(*j.Priority), 10)
		}
		if j.State == StateWaiting && !j.Start.IsZero() {
			start = "~" + Span(j.Start.Sub(now))
		}
		t.Rows = append(t.Rows, []string{
			cell(j.Name), cell(j.Queue), position, priority,
			strconv.FormatInt(j.Pods, 10), strconv.FormatInt(j.Units, 10),
			cell(j.State), cell(j.Reason), start, Age(now, j.Created),
		})
	}
	return t
}
