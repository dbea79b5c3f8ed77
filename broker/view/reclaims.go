package view

import (
	"fmt"
	"strconv"
	"time"
)

// Reclaim is what the table of reclaims shows of the course of one. A step that has not
// been taken, or of which nothing is known, is negative; the others are times since the
// units were asked for.
type Reclaim struct {
	// Seq of the ledger entry that asked.
	Seq    uint64
	Asked  time.Time
	Loan   string
	Units  int64
	Reason string
	// Pods that were told, of Of that there were; Left were killed.
	Pods, Of, Left int

	Told, Stopped, Killed, Ended time.Duration
	// Bound is how long it may take; 0 if nobody said.
	Bound time.Duration
	// End is the ledger's name of how it ended, empty while it has not.
	End string
}

// Reclaims is the table of reclaims, in the order given. NAME is the sequence number of
// the entry that asked. ENDED is marked where that was later than the bound.
func Reclaims(list []Reclaim) Table {
	t := Table{Columns: columns("NAME", "ASKED+", "LOAN", "UNITS", "REASON", "PODS+", "TOLD", "STOPPED", "KILLED", "ENDED", "BOUND", "END")}
	for i := range list {
		r := &list[i]
		units, pods, killed, ended := None, None, None, Latency(r.Ended)
		if r.Units > 0 {
			units = strconv.FormatInt(r.Units, 10)
		}
		if r.Of > 0 {
			pods = fmt.Sprintf("%d/%d", r.Pods, r.Of)
		}
		if r.Killed >= 0 {
			killed = fmt.Sprintf("%s(%d)", Latency(r.Killed), r.Left)
		}
		bound := None
		if r.Bound > 0 {
			bound = Latency(r.Bound)
			if r.Ended > r.Bound {
				ended += "(late)"
			}
		}
		t.Rows = append(t.Rows, []string{
			strconv.FormatUint(r.Seq, 10), r.Asked.UTC().Format(time.RFC3339), cell(r.Loan), units, cell(r.Reason),
			pods, Latency(r.Told), Latency(r.Stopped), killed, ended, bound, cell(r.End),
		})
	}
	return t
}

// Latency shows a short duration: to the millisecond below a second, to the tenth below
// two minutes, and from there on as Span does. A negative one is None.
func Latency(d time.Duration) string {
	switch {
	case d < 0:
		return None
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	}
	return Span(d)
}
