package history_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/internal/history"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// of adds an entry about a job's loan, minutes after the start.
func (b *book) of(job, loan string, minutes int, kind ledger.Kind, reason string, asking ...string) {
	b.add(start.Add(time.Duration(minutes)*time.Minute), kind, loan, lent(1), own(1))
	e := &(*b)[len(*b)-1]
	e.JobUID, e.Reason = job, reason
	if asking != nil {
		e.Payload, _ = json.Marshal(history.Reclaim{Asking: asking})
	}
}

func minute(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }

// TestRecall: what a broker that has just started remembers is what it would remember had
// it not stopped.
func TestRecall(t *testing.T) {
	pol := lend.DefaultPolicy()
	pol.CycleWindow = 2 * time.Hour
	tests := []struct {
		name    string
		past    func(b *book)
		jobs    []lend.JobState
		lenders []lend.LenderState
	}{
		{name: "nothing happened", past: func(b *book) {
			b.of("x", "x-1", 0, ledger.LendIntent, "")
			b.of("x", "x-1", 1, ledger.LendGranted, "")
			b.of("x", "x-1", 2, ledger.Released, "")
		}},
		{name: "taken back for two lenders", past: func(b *book) {
			b.of("x", "x-1", 0, ledger.LendIntent, "")
			b.of("", "x-1", 5, ledger.ReclaimIntent, lend.ReasonNeedRose, "serving/chat", "serving/code")
			b.of("", "x-1", 6, ledger.ReclaimDone, lend.ReasonReturned)
		}, jobs: []lend.JobState{{UID: "x", Evictions: []time.Time{minute(5)}}}, lenders: []lend.LenderState{
			{Name: "serving/chat", LastReclaim: minute(5), Reclaims: []time.Time{minute(5)}},
			{Name: "serving/code", LastReclaim: minute(5), Reclaims: []time.Time{minute(5)}},
		}},
		{name: "a load that rises in steps", past: func(b *book) {
			b.of("x", "x-1", 0, ledger.LendIntent, "")
			b.of("y", "y-1", 0, ledger.LendIntent, "")
			b.of("z", "z-1", 7, ledger.LendIntent, "")
			b.of("", "x-1", 5, ledger.ReclaimIntent, lend.ReasonNeedRose, "serving/chat")
			b.of("", "y-1", 6, ledger.ReclaimIntent, lend.ReasonNeedRose, "serving/chat")
			b.of("", "z-1", 8, ledger.ReclaimIntent, lend.ReasonNeedRose, "serving/chat")
		}, jobs: []lend.JobState{
			{UID: "x", Evictions: []time.Time{minute(5)}}, {UID: "y", Evictions: []time.Time{minute(6)}}, {UID: "z", Evictions: []time.Time{minute(8)}},
		}, lenders: []lend.LenderState{{Name: "serving/chat", LastReclaim: minute(8), Reclaims: []time.Time{minute(5), minute(8)}}}},
		{name: "asked back, and then taken by the scheduler", past: func(b *book) {
			b.of("x", "x-1", 0, ledger.LendIntent, "")
			b.of("", "x-1", 5, ledger.ReclaimIntent, lend.ReasonOwnerWants)
			b.of("", "x-1", 6, ledger.Preempted, lend.ReasonPreempted)
		}, jobs: []lend.JobState{{UID: "x", Evictions: []time.Time{minute(5)}}}, lenders: []lend.LenderState{
			{Name: "serving/chat", LastReclaim: minute(6), Reclaims: []time.Time{minute(6)}},
		}},
		{name: "taken by the scheduler alone", past: func(b *book) {
			b.of("x", "x-1", 0, ledger.Recovered, "")
			b.of("", "x-1", 6, ledger.Preempted, lend.ReasonPreempted)
		}, jobs: []lend.JobState{{UID: "x", Evictions: []time.Time{minute(6)}}}, lenders: []lend.LenderState{
			{Name: "serving/chat", LastReclaim: minute(6), Reclaims: []time.Time{minute(6)}},
		}},
		{name: "a part was asked for", past: func(b *book) {
			b.of("x", "x-1", 0, ledger.LendIntent, "")
			b.of("", "x-1", 5, ledger.ShedIntent, lend.ReasonNeedRose, "serving/chat")
			b.of("", "x-1", 6, ledger.Shed, lend.ReasonShed)
		}, lenders: []lend.LenderState{{Name: "serving/chat", LastReclaim: minute(5), Reclaims: []time.Time{minute(5)}}}},
		{name: "it found no nodes", past: func(b *book) {
			b.of("x", "x-1", 0, ledger.LendIntent, "")
			b.of("", "x-1", 5, ledger.ReclaimIntent, lend.ReasonNotStarted)
		}, jobs: []lend.JobState{{UID: "x", Evictions: []time.Time{minute(5)}, NotStarted: minute(5)}}},
		{name: "nobody's fault", past: func(b *book) {
			b.of("x", "x-1", 0, ledger.LendIntent, "")
			b.of("", "x-1", 5, ledger.ReclaimIntent, lend.ReasonNodeUnhealthy)
			b.of("y", "y-1", 0, ledger.LendIntent, "")
			b.of("", "y-1", 5, ledger.ReclaimIntent, lend.ReasonQueueDraining)
			b.of("z", "z-1", 0, ledger.LendIntent, "")
			b.of("", "z-1", 5, ledger.ReclaimIntent, lend.ReasonCrowdedOut)
		}},
		{name: "again and again, and one time too long ago", past: func(b *book) {
			for i, at := range []int{-60, 10, 20, 30} {
				loan := "x-" + string(rune('1'+i))
				b.of("x", loan, at-1, ledger.LendIntent, "")
				b.of("", loan, at, ledger.ReclaimIntent, lend.ReasonNeedRose)
				b.of("", loan, at, ledger.ReclaimDone, lend.ReasonReturned)
			}
		}, jobs: []lend.JobState{{UID: "x", Evictions: []time.Time{minute(10), minute(20), minute(30)}}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var b book
			test.past(&b)
			got, err := history.Recall(b, pol, minute(60))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(lend.State{Jobs: test.jobs, Lenders: test.lenders}, got); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

// broken is a ledger that cannot be read.
type broken struct{}

func (broken) Read(uint64, int) ([]ledger.Entry, error) { return nil, errors.New("the disk is gone") }

// TestRecallFails: a past that cannot be read is not an empty one.
func TestRecallFails(t *testing.T) {
	if _, err := history.Recall(broken{}, lend.DefaultPolicy(), start); err == nil {
		t.Error("a ledger that cannot be read was taken for one without entries")
	}
}
