package queue

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/quota"
)

// Priority, then age, then name; in a FIFO queue nobody passes who came before.
func TestOrderOfJobs(t *testing.T) {
	at := func(minutes int) time.Time { return moment.Add(time.Duration(minutes) * time.Minute) }
	const fifo, free = 0, 1
	w := world{
		nodes:  []quota.Node{{Name: "t", Quotas: []quota.Quota{{Flavor: "h100", Nominal: 8}}}},
		queues: []Queue{{Name: "fifo", Order: FIFO}, {Name: "free"}},
		jobs: []Job{
			{Name: "fifo-first", UID: "1", Queue: fifo, Priority: 1, Created: at(0)},
			{Name: "fifo-urgent", UID: "2", Queue: fifo, Priority: 9, Created: at(1)},
			{Name: "fifo-low", UID: "3", Queue: fifo, Priority: 0, Created: at(2)},
			{Name: "free-old", UID: "4", Queue: free, Priority: 0, Created: at(1)},
			{Name: "free-urgent", UID: "5", Queue: free, Priority: 5, Created: at(3)},
			{Name: "free-b", UID: "6", Queue: free, Priority: 1, Created: at(1)},
			{Name: "free-a", UID: "7", Queue: free, Priority: 1, Created: at(1)},
		},
	}
	slices.Reverse(w.jobs)
	for i := range w.jobs {
		w.jobs[i].Pods, w.jobs[i].UnitsPerPod = 1, 1
	}
	tree := quota.NewTree(nil, w.nodes)
	p := index(w.queues, w.jobs).Begin(tree, moment, 0)
	var got []string
	for j, ok := p.Next(); ok; j, ok = p.Next() {
		got = append(got, j.Name)
		tree.Use(0, j.Flavor, j.Units())
		p.Admitted()
	}
	want := []string{"free-urgent", "fifo-first", "fifo-urgent", "free-a", "free-b", "free-old", "fifo-low"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
