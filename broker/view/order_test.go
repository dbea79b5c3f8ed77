package view

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/quota/queue"
)

// TestOrderIsTheCores: the table puts waiting jobs in the order in which the
// broker considers those of each queue, ties included.
func TestOrderIsTheCores(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	queues := []queue.Queue{{Name: "research/fifo", Order: queue.FIFO}, {Name: "research/prio"}}
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for range 200 {
		index := queue.New(queues)
		var rows []QueuedJob
		for i := range 12 {
			j := queue.Job{
				Name: fmt.Sprintf("job-%02d", i), UID: fmt.Sprint(r.Uint32()), Queue: r.IntN(2),
				Priority: r.Int32N(3), Created: start.Add(time.Duration(r.IntN(3)) * time.Second),
			}
			index.Add(j)
			rows = append(rows, QueuedJob{
				Name: j.Name, Queue: queues[j.Queue].Name, Priority: &j.Priority, State: StateWaiting, Created: j.Created,
				FIFO: queues[j.Queue].Order == queue.FIFO,
			})
		}
		var want, got []string
		index.Positions(func(j queue.Job, _ int) { want = append(want, j.Name) })
		PlaceInQueues(rows)
		for _, row := range rows {
			got = append(got, row.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("order (-core +table):\n%s", diff)
		}
	}
}
