package view

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// TestOrderIsTheCores: the table puts waiting jobs in the order in which the
// broker considers those of each queue, ties included.
func TestOrderIsTheCores(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	queues := []lend.Queue{{Name: "research/fifo", FIFO: true}, {Name: "research/prio"}}
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for range 200 {
		var jobs []lend.Job
		var rows []QueuedJob
		for i := range 12 {
			q := queues[r.IntN(2)]
			j := lend.Job{
				Name: fmt.Sprintf("job-%02d", i), UID: fmt.Sprint(r.Uint32()), Queue: q.Name,
				Priority: r.Int32N(3), Created: start.Add(time.Duration(r.IntN(3)) * time.Second),
			}
			jobs = append(jobs, j)
			rows = append(rows, QueuedJob{
				Name: j.Name, Queue: j.Queue, Priority: &j.Priority, State: StateWaiting, Created: j.Created, FIFO: q.FIFO,
			})
		}
		var want, got []string
		core := lend.InOrder(jobs, queues)
		slices.SortStableFunc(core, func(a, b lend.Job) int { return cmp.Compare(a.Queue, b.Queue) })
		for _, j := range core {
			want = append(want, j.Name)
		}
		PlaceInQueues(rows)
		for _, row := range rows {
			got = append(got, row.Name)
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("order (-core +table):\n%s", diff)
		}
	}
}
