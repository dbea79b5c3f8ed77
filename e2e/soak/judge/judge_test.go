package judge_test

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/soak/judge"
)

var (
	start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rules = judge.Rules{Budget: 2, Window: time.Hour, Minimum: 5 * time.Minute, Cooldown: 5 * time.Minute, Slack: time.Second}
)

func at(minutes float64) time.Time { return start.Add(time.Duration(minutes * float64(time.Minute))) }

func back(job string, minutes float64) judge.TakeBack {
	return judge.TakeBack{Job: job, Loan: job + "-1", At: at(minutes), Reason: "NeedRose", Asking: []string{"a"}}
}

func forced(t judge.TakeBack) judge.TakeBack {
	t.Forced, t.Urgent, t.Reason = true, true, "LenderPodPending"
	return t
}

func urgent(t judge.TakeBack) judge.TakeBack {
	t.Urgent = true
	return t
}

// Histories that break a rule are found out, and such as come close to it are not.
func TestJudge(t *testing.T) {
	lend := func(job, loan, lender string, minutes float64) judge.Lend {
		return judge.Lend{Job: job, Loan: loan, At: at(minutes), Lenders: []string{lender}}
	}
	tests := []struct {
		name                      string
		lends                     []judge.Lend
		backs                     []judge.TakeBack
		overBudget, young, relent int
		most, unforced            int
	}{
		{name: "nothing happened"},
		{name: "at the budget", backs: []judge.TakeBack{back("x", 0), back("x", 59)}, most: 2, unforced: 2},
		{name: "one too many", backs: []judge.TakeBack{back("x", 0), back("x", 30), back("x", 59)}, overBudget: 1, most: 3, unforced: 3},
		{name: "told in another order", backs: []judge.TakeBack{back("x", 59), back("y", 3), back("x", 0), back("x", 30)}, overBudget: 1, most: 3, unforced: 3},
		{name: "the first is past the window", backs: []judge.TakeBack{back("x", 0), back("x", 30), back("x", 60)}, most: 2, unforced: 2},
		{name: "a window in the middle", backs: []judge.TakeBack{back("x", 0), back("x", 70), back("x", 100), back("x", 129), back("x", 200)}, overBudget: 1, most: 3, unforced: 3},
		{name: "of several jobs", backs: []judge.TakeBack{back("x", 0), back("y", 1), back("x", 2), back("y", 3)}, most: 2, unforced: 2},
		{name: "online pods override", backs: []judge.TakeBack{back("x", 0), forced(back("x", 10)), forced(back("x", 20)), back("x", 30)}, most: 4, unforced: 2},
		{name: "they do not cover for others", backs: []judge.TakeBack{back("x", 0), forced(back("x", 10)), back("x", 20), back("x", 30)}, overBudget: 1, most: 4, unforced: 3},

		{name: "a loan of its least age", lends: []judge.Lend{lend("x", "x-1", "b", 0)}, backs: []judge.TakeBack{back("x", 5)}, most: 1, unforced: 1},
		{name: "a younger one", lends: []judge.Lend{lend("x", "x-1", "b", 0)}, backs: []judge.TakeBack{back("x", 4)}, young: 1, most: 1, unforced: 1},
		{name: "for what may", lends: []judge.Lend{lend("x", "x-1", "b", 0)}, backs: []judge.TakeBack{urgent(back("x", 4))}, most: 1, unforced: 1},
		{name: "another loan is young", lends: []judge.Lend{lend("x", "x-1", "b", 0), lend("y", "y-1", "b", 4)}, backs: []judge.TakeBack{back("x", 6)}, most: 1, unforced: 1},

		{name: "lent again at once", lends: []judge.Lend{lend("y", "y-1", "a", 11)}, backs: []judge.TakeBack{forced(back("x", 10))}, relent: 1, most: 1},
		{name: "lent again after the cooldown", lends: []judge.Lend{lend("y", "y-1", "a", 15)}, backs: []judge.TakeBack{forced(back("x", 10))}, most: 1},
		{name: "lent before", lends: []judge.Lend{lend("y", "y-1", "a", 9)}, backs: []judge.TakeBack{forced(back("x", 10))}, most: 1},
		{name: "somebody else lends", lends: []judge.Lend{lend("y", "y-1", "b", 11)}, backs: []judge.TakeBack{forced(back("x", 10))}, most: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := rules.Judge(test.lends, test.backs)
			if len(f.OverBudget) != test.overBudget || len(f.Young) != test.young || len(f.Relent) != test.relent {
				t.Errorf("found %q, %q and %q; want %d, %d and %d of them", f.OverBudget, f.Young, f.Relent, test.overBudget, test.young, test.relent)
			}
			if f.Most != test.most || f.MostUnforced != test.unforced {
				t.Errorf("at most %d and %d unforced, want %d and %d", f.Most, f.MostUnforced, test.most, test.unforced)
			}
			if f.Forced+f.Unforced != len(test.backs) {
				t.Errorf("%d forced and %d others, of %d", f.Forced, f.Unforced, len(test.backs))
			}
		})
	}
}
