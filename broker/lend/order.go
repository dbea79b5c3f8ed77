package lend

import (
	"cmp"
	"slices"
)

// InOrder returns the jobs such that those of each queue are in the queue's order: by
// priority, then age, then name, then UID; in a FIFO queue by age alone. Which queue
// is next depends on quotas as well: Plan.Waiting has that order. A queue that is not
// listed goes by priority. The arguments are not changed.
func InOrder(jobs []Job, queues []Queue) []Job {
	fifo := map[string]bool{}
	for _, q := range queues {
		fifo[q.Name] = q.FIFO
	}
	out := slices.Clone(jobs)
	slices.SortStableFunc(out, byAge)
	lowest := map[string]int32{}
	rank := make(map[string]int32, len(out))
	for _, j := range out {
		rank[j.UID] = j.Priority
		if !fifo[j.Queue] {
			continue
		}
		if low, ok := lowest[j.Queue]; ok {
			rank[j.UID] = min(j.Priority, low)
		}
		lowest[j.Queue] = rank[j.UID]
	}
	slices.SortStableFunc(out, func(a, b Job) int { return cmp.Compare(rank[b.UID], rank[a.UID]) })
	return out
}

func byAge(a, b Job) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
}
