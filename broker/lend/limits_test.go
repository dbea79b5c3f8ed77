package lend

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Limits bound what a plan adds: no tenant borrows or lends beyond them, and own
// use stays within the nominal quota that services leave.
func TestLimitsAreKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drive(t, func(t *rapid.T, w *world, _ State, in Snapshot, plan Plan) {
			type usage struct{ Own, Reserved, Loans, Lent int64 }
			use := map[string]*usage{}
			for _, tenant := range in.Tenants {
				use[tenant.Name] = &usage{}
			}
			for _, l := range in.Lenders {
				use[l.Tenant].Reserved += l.Owned
			}
			count := func(borrower string, grants []Grant) {
				for _, g := range grants {
					n := g.Count
					use[borrower].Loans += n
					if g.Lender == "" {
						use[borrower].Own += n
					} else if g.Lender == CohortLender("all") {
						continue // quota that nobody in particular lends
					} else if owner := lenderIn(in, g.Lender).Tenant; owner != borrower {
						use[owner].Lent += n
					}
				}
			}
			for _, l := range in.Loans {
				count(l.Borrower, l.Grants)
			}
			for _, a := range actions(plan, ActionLend) {
				count(w.training(a.Job).Tenant, a.Grants)
			}
			for _, tenant := range in.Tenants {
				q, u := tenant.Quotas[0], use[tenant.Name]
				if q.BorrowingLimit != nil && u.Loans > q.Nominal+*q.BorrowingLimit {
					t.Fatalf("%s has %d on loans, was promised %d and may borrow %d", tenant.Name, u.Loans, q.Nominal, *q.BorrowingLimit)
				}
				if q.LendingLimit != nil && u.Lent > *q.LendingLimit || u.Lent > q.Nominal {
					t.Fatalf("%s lends %d of %d (limit %v)", tenant.Name, u.Lent, q.Nominal, q.LendingLimit)
				}
				if u.Own > 0 && u.Own+u.Reserved > q.Nominal {
					t.Fatalf("%s uses %d and reserves %d of %d", tenant.Name, u.Own, u.Reserved, q.Nominal)
				}
			}
		}, nil)
	})
}

// Whatever policies claim and pods hold: what a plan adds to a tenant's own use, to
// what it lends itself and to what it lends others keeps all of it within its nominal
// quota.
func TestNominalIsUsedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		w := drawWorld(r)
		w.loans = nil
		for _, s := range w.lenders {
			s.Owned += pick[int64](r, 0, 4, 8, 1000)
		}
		for i := range w.tenants {
			w.tenants[i].Quotas[0].Held = pick[int64](r, 0, 0, 1, 8)
		}
		for range rapid.IntRange(10, 40).Draw(t, "ticks") {
			w.disturb(r)
			w.step(5 * time.Second)
			in, plan := w.decide()
			added := map[string]bool{}
			used := map[string]int64{}
			count := func(borrower string, grants []Grant, isNew bool) {
				for _, g := range grants {
					of := borrower
					if g.Lender == CohortLender("all") {
						continue
					}
					if g.Lender != "" {
						of = lenderIn(in, g.Lender).Tenant
					}
					used[of] += g.Count
					added[of] = added[of] || isNew
				}
			}
			for _, l := range in.Loans {
				count(l.Borrower, l.Grants, false)
			}
			for _, a := range actions(plan, ActionLend) {
				count(w.training(a.Job).Tenant, a.Grants, true)
			}
			for _, tenant := range in.Tenants {
				q := tenant.Quotas[0]
				if added[tenant.Name] && used[tenant.Name]+q.Held > q.Nominal {
					t.Fatalf("of %d units of %s, %d are used and %d held", q.Nominal, tenant.Name, used[tenant.Name], q.Held)
				}
			}
		}
	})
}

// Every lender, waiting job and open loan gets exactly one verdict with a reason,
// in order.
func TestEverySubjectHasAVerdict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drive(t, func(t *rapid.T, w *world, _ State, in Snapshot, plan Plan) {
			want := map[string]SubjectKind{}
			for _, l := range in.Lenders {
				want[l.Name] = SubjectLender
			}
			for _, j := range in.Jobs {
				want[j.Name] = SubjectJob
			}
			for _, l := range in.Loans {
				want[l.Name] = SubjectLoan
			}
			for i, v := range plan.Verdicts {
				if want[v.Subject] != v.Kind || v.Reason == "" || v.Message == "" {
					t.Fatalf("verdict %+v, want one about a %q", v, want[v.Subject])
				}
				if i > 0 && strings.Compare(plan.Verdicts[i-1].Subject, v.Subject) > 0 {
					t.Fatalf("%s comes after %s", v.Subject, plan.Verdicts[i-1].Subject)
				}
				delete(want, v.Subject)
			}
			if len(want) > 0 {
				t.Fatalf("no verdict about %v", want)
			}
		}, nil)
	})
}
