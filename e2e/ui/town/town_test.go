package town

import (
	"encoding/json"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// The numbers of a town agree with each other.
func TestAgrees(t *testing.T) {
	for name, o := range map[string]Options{"small": Small(now), "few": Few(now), "large": Large(now)} {
		t.Run(name, func(t *testing.T) {
			w := New(o)
			if got := len(w.loans); got != o.Loans+1 { // and the one on slices
				t.Errorf("%d loans are open, want %d", got, o.Loans+1)
			}
			held := map[string]int64{}
			for _, l := range w.loans {
				var units int64
				for _, g := range l.Grants {
					units += g.Count
					held[g.Node+" "+g.Flavor] += g.Count
				}
				if units != l.Units {
					t.Errorf("loan %s has %d units in its grants, want %d", l.Name, units, l.Units)
				}
			}
			for _, n := range w.nodes {
				for _, u := range n.Units {
					if u.Own+u.Lent+u.Free+u.Broken != u.Capacity || u.Own != u.Services || min(u.Own, u.Lent, u.Free, u.Broken) < 0 {
						t.Errorf("node %s: %+v does not add up", n.Name, u)
					}
					if got := held[n.Name+" "+u.Flavor]; got != u.Lent {
						t.Errorf("node %s: loans hold %d of %s, want %d", n.Name, got, u.Flavor, u.Lent)
					}
				}
			}
			open := 0
			for _, s := range w.spans {
				if s.To.IsZero() {
					open++
				} else if s.To.Before(s.From) || !s.ReclaimAt.IsZero() && s.ReclaimAt.After(s.To) {
					t.Errorf("span %+v runs backwards", s)
				}
			}
			if open != len(w.loans) {
				t.Errorf("%d spans run on, want %d, one for each open loan", open, len(w.loans))
			}
		})
	}
}

// A tenant is shown his, and a stranger nothing.
func TestWhoSeesWhat(t *testing.T) {
	w := New(Small(now))
	for token, sees := range map[string]func(borrower string) bool{
		Everybody: func(string) bool { return true },
		Tenant:    func(borrower string) bool { return borrower == "research" },
		Nobody:    func(string) bool { return false },
	} {
		answer, err := w.Answer("/loans", token)
		if err != nil {
			t.Fatal(err)
		}
		rows := answer["loans"].([]any)
		want := 0
		for _, l := range w.loans {
			if sees(l.Borrower) {
				want++
			}
		}
		if len(rows) != want {
			t.Errorf("%s sees %d loans, want %d", token, len(rows), want)
		}
		for _, row := range rows {
			if borrower := row.(map[string]any)["borrower"].(string); !sees(borrower) {
				t.Errorf("%s sees a loan of %s", token, borrower)
			}
		}
	}
	if _, err := w.Answer("/loans", "another"); err != nil {
		t.Fatal(err)
	}
}

// Equal options give equal towns.
func TestSame(t *testing.T) {
	text := func() string {
		answer, err := New(Small(now)).Answer("/timeline", Everybody)
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if text() != text() {
		t.Error("two towns of the same options differ")
	}
}
