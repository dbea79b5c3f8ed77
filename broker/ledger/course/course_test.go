package course

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testclock "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// told writes entries into a real ledger, each so many milliseconds after the start.
type told struct {
	at    int
	entry ledger.Entry
}

func grants(units int64) []ledger.Grant {
	return []ledger.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: units}}
}

func write(t *testing.T, steps []told) []ledger.Entry {
	t.Helper()
	clock := testclock.NewFakePassiveClock(start)
	l, err := ledger.Open(filepath.Join(t.TempDir(), "ledger.db"), ledger.Options{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	for i, s := range steps {
		clock.SetTime(start.Add(time.Duration(s.at) * time.Millisecond))
		e := s.entry
		e.OpID, e.Epoch = string(rune('a'+i)), 1
		if e.Loan == "" {
			e.Loan = "research/tune-1"
		}
		if e.Kind == ledger.Recovered {
			e.Job, e.JobUID, e.Borrower, e.Grants = "research/tune", e.Loan, "research", grants(8)
		}
		if _, err := l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := l.Read(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func payload(t *testing.T, v any) json.RawMessage {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestOf(t *testing.T) {
	by := func(ms int) json.RawMessage {
		return payload(t, Asked{start.Add(time.Duration(ms) * time.Millisecond)})
	}
	shed := json.RawMessage(`{"reclaimBy":"2026-03-01T12:00:30Z","shed":[{"Lender":"serving/chat","Node":"gpu-0","Flavor":"h100","Count":2}]}`)
	stopped := payload(t, Stopped{ToldAt: start.Add(40 * time.Millisecond), Told: 7, Untold: 1})
	base := Reclaim{Loan: "research/tune-1", Job: "research/tune", JobUID: "research/tune-1", Borrower: "research", ReclaimID: "r-1", Reason: "NeedRose", Units: 8, Lenders: []string{"serving/chat"}, Asked: start}
	change := func(edit func(*Reclaim)) Reclaim {
		r := base
		edit(&r)
		return r
	}
	open := told{0, ledger.Entry{Kind: ledger.Recovered}}
	ask := ledger.Entry{Kind: ledger.ReclaimIntent, ReclaimID: "r-1", Reason: "NeedRose", Payload: by(30000)}
	shrink := ledger.Entry{Kind: ledger.ShedIntent, ReclaimID: "r-1", Reason: "NeedRose", Payload: shed}
	for name, test := range map[string]struct {
		steps []told
		want  []Reclaim
	}{
		"all steps": {
			steps: []told{open, {0, ask},
				{90, ledger.Entry{Kind: ledger.Stopped, Payload: stopped}},
				{30100, ledger.Entry{Kind: ledger.Killed, Payload: payload(t, Killed{3})}},
				{31250, ledger.Entry{Kind: ledger.ReclaimDone}}},
			want: []Reclaim{change(func(r *Reclaim) {
				r.Seq, r.BoundSeconds = 2, 30
				r.Told, r.Untold, r.Stopped = &Step{0.04, 7}, 1, &Step{Seconds: 0.09}
				r.Killed, r.Ended, r.End = &Step{30.1, 3}, &Step{Seconds: 31.25}, "RECLAIM_DONE"
			})},
		},
		"an old ledger": {
			steps: []told{open, {0, ledger.Entry{Kind: ledger.ReclaimIntent, ReclaimID: "r-1", Reason: "NeedRose"}}, {5000, ledger.Entry{Kind: ledger.ReclaimDone}}},
			want: []Reclaim{change(func(r *Reclaim) {
				r.Seq, r.Ended, r.End = 2, &Step{Seconds: 5}, "RECLAIM_DONE"
			})},
		},
		"not over": {
			steps: []told{open, {0, ask}},
			want:  []Reclaim{change(func(r *Reclaim) { r.Seq, r.BoundSeconds = 2, 30 })},
		},
		"a part, then another, then all": {
			steps: []told{open, {0, shrink}, {10, ledger.Entry{Kind: ledger.Stopped, ReclaimID: "r-1", Payload: payload(t, Stopped{})}},
				{500, ledger.Entry{Kind: ledger.ShedLost, Grants: grants(6)}},
				{1000, ledger.Entry{Kind: ledger.ShedIntent, ReclaimID: "r-2", Reason: "NeedRose", Payload: shed}},
				{2000, ledger.Entry{Kind: ledger.ReclaimIntent, ReclaimID: "r-3", Reason: "NeedRose"}},
				{3000, ledger.Entry{Kind: ledger.Lost}}},
			want: []Reclaim{
				change(func(r *Reclaim) {
					r.Seq, r.Part, r.Units, r.BoundSeconds = 2, true, 2, 30
					r.Stopped, r.Ended, r.End = &Step{Seconds: 0.01}, &Step{Seconds: 0.5}, "SHED_LOST"
				}),
				change(func(r *Reclaim) {
					r.Seq, r.ReclaimID, r.Part, r.Units, r.BoundSeconds, r.Asked = 5, "r-2", true, 2, 29, start.Add(time.Second)
					r.Ended, r.End = &Step{Seconds: 1}, "RECLAIM_INTENT"
				}),
				change(func(r *Reclaim) {
					r.Seq, r.ReclaimID, r.Units, r.Asked = 6, "r-3", 6, start.Add(2*time.Second)
					r.Ended, r.End = &Step{Seconds: 1}, "LOST"
				}),
			},
		},
		"the scheduler by itself": {
			steps: []told{open,
				{3000, ledger.Entry{Kind: ledger.Stopped, At: start.Add(time.Second), Reason: "Preempted", Payload: payload(t, Stopped{})}},
				{6000, ledger.Entry{Kind: ledger.Preempted}}},
			want: []Reclaim{change(func(r *Reclaim) {
				r.Seq, r.ReclaimID, r.Reason, r.Asked = 2, "", "Preempted", start.Add(time.Second)
				r.Stopped, r.Ended, r.End = &Step{}, &Step{Seconds: 5}, "PREEMPTED"
			})},
		},
		"the scheduler before a part was back": {
			steps: []told{open, {0, shrink},
				{1000, ledger.Entry{Kind: ledger.Stopped, Reason: "Preempted", Payload: payload(t, Stopped{})}},
				{2000, ledger.Entry{Kind: ledger.Preempted}}},
			want: []Reclaim{
				change(func(r *Reclaim) {
					r.Seq, r.Part, r.Units, r.BoundSeconds, r.Ended, r.End = 2, true, 2, 30, &Step{Seconds: 1}, "STOPPED"
				}),
				change(func(r *Reclaim) {
					r.Seq, r.ReclaimID, r.Reason, r.Asked = 3, "", "Preempted", start.Add(time.Second)
					r.Stopped, r.Ended, r.End = &Step{}, &Step{Seconds: 1}, "PREEMPTED"
				}),
			},
		},
		"pods left after the job ended by itself": {
			steps: []told{open, {0, ledger.Entry{Kind: ledger.Killed, Payload: payload(t, Killed{1})}}, {1, ledger.Entry{Kind: ledger.Released}}},
		},
		"two loans at once": {
			steps: []told{open, {0, ledger.Entry{Kind: ledger.Recovered, Loan: "research/b-1"}}, {0, ask},
				{0, ledger.Entry{Kind: ledger.ReclaimIntent, Loan: "research/b-1", ReclaimID: "r-1", Reason: "NeedRose"}},
				{7000, ledger.Entry{Kind: ledger.ReclaimDone}}, {8000, ledger.Entry{Kind: ledger.Released, Loan: "research/b-1"}}},
			want: []Reclaim{
				change(func(r *Reclaim) {
					r.Seq, r.BoundSeconds, r.Ended, r.End = 3, 30, &Step{Seconds: 7}, "RECLAIM_DONE"
				}),
				change(func(r *Reclaim) {
					r.Seq, r.Loan, r.JobUID, r.Ended, r.End = 4, "research/b-1", "research/b-1", &Step{Seconds: 8}, "RELEASED"
				}),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			entries := write(t, test.steps)
			got := Of(entries)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("reclaims (-want +got):\n%s", diff)
			}
			for _, r := range got {
				if over := r.Ended != nil; over == r.EndedAt().IsZero() || r.Freed() != (over && r.End != "LOST" && r.End != "SHED_LOST") {
					t.Errorf("%s ended %s, and is free: %t", r.End, r.EndedAt(), r.Freed())
				}
			}
			last, ok := Last(entries)
			if ok != (len(got) > 0) || ok && !cmp.Equal(last, got[len(got)-1]) {
				t.Errorf("the last one is %+v (%v)", last, ok)
			}
		})
	}
}

func TestLate(t *testing.T) {
	for name, test := range map[string]struct {
		reclaim Reclaim
		want    bool
	}{
		"in time":  {Reclaim{BoundSeconds: 30, Ended: &Step{Seconds: 30}}, false},
		"late":     {Reclaim{BoundSeconds: 30, Ended: &Step{Seconds: 30.1}}, true},
		"no bound": {Reclaim{Ended: &Step{Seconds: 99}}, false},
		"not over": {Reclaim{BoundSeconds: 30}, false},
	} {
		if got := test.reclaim.Late(); got != test.want {
			t.Errorf("%s: late is %v", name, got)
		}
	}
}
