package view

import (
	"strings"
	"testing"
	"time"
)

func TestReclaims(t *testing.T) {
	none := Reclaim{Seq: 4, Asked: now, Loan: "research/a-1", Told: -1, Stopped: -1, Killed: -1, Ended: -1}
	done := Reclaim{
		Seq: 9, Asked: now, Loan: "research/b-1", Units: 8, Reason: "NeedRose", Pods: 7, Of: 8, Left: 2,
		Told: 12 * time.Millisecond, Stopped: 310 * time.Millisecond, Killed: 30*time.Second + 40*time.Millisecond,
		Ended: 31*time.Second + 290*time.Millisecond, Bound: 30 * time.Second, End: "RECLAIM_DONE",
	}
	inTime := done
	inTime.Ended, inTime.Killed = 0, -1
	for name, test := range map[string]struct {
		reclaim Reclaim
		want    string
	}{
		"nothing known": {none, "4 2026-03-01T12:00:00Z research/a-1 <none> <none> <none> <none> <none> <none> <none> <none> <none>"},
		"late":          {done, "9 2026-03-01T12:00:00Z research/b-1 8 NeedRose 7/8 12ms 310ms 30.0s(2) 31.2s(late) 30.0s RECLAIM_DONE"},
		"in no time":    {inTime, "9 2026-03-01T12:00:00Z research/b-1 8 NeedRose 7/8 12ms 310ms <none> 0ms 30.0s RECLAIM_DONE"},
	} {
		table := Reclaims([]Reclaim{test.reclaim})
		if got := strings.Join(table.Rows[0], " "); got != test.want || len(table.Rows[0]) != len(table.Columns) {
			t.Errorf("%s: got %s\nwant %s", name, got, test.want)
		}
	}
}

func TestLatency(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: None, 0: "0ms", 999*time.Millisecond + 999*time.Microsecond: "999ms", time.Second: "1.0s",
		119*time.Second + 999*time.Millisecond: "119.9s", 2 * time.Minute: "2m",
	} {
		if got := Latency(d); got != want {
			t.Errorf("Latency(%v) is %s, want %s", d, got, want)
		}
	}
}
