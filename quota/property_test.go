package quota

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// booking is one change of a Book.
type booking struct {
	own              bool
	lender, borrower string
	n                Amount
}

// drawBook makes tenants in two cohorts and none, with and without limits.
func drawBook(r *rand.Rand) ([]Tenant, *Book) {
	amount := func() *Amount {
		if r.IntN(2) == 0 {
			return nil
		}
		n := Amount(r.IntN(30))
		return &n
	}
	var tenants []Tenant
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		tenants = append(tenants, Tenant{Name: name, Cohort: []string{"x", "x", "y", ""}[r.IntN(4)], Quotas: []Quota{{
			Flavor: "h100", Nominal: Amount(r.IntN(40)), BorrowingLimit: amount(), LendingLimit: amount(),
		}}})
	}
	return tenants, NewBook(tenants)
}

// grow books random use as long as it fits, and returns what it booked.
func grow(r *rand.Rand, b *Book, steps int) []booking {
	var done []booking
	b.Hold("a", "h100", Amount(r.IntN(20)))
	names := []string{"a", "b", "c", "d", "e"}
	for range steps {
		k := booking{own: r.IntN(3) == 0, lender: names[r.IntN(5)], borrower: names[r.IntN(5)], n: Amount(1 + r.IntN(12))}
		if !allowed(b, k) {
			continue
		}
		book(b, k, 1)
		done = append(done, k)
	}
	return done
}

func allowed(b *Book, k booking) bool {
	if k.own {
		return k.n <= b.NominalRoom(k.borrower, "h100")
	}
	if !b.MayLend(k.lender, k.borrower) {
		return false
	}
	if k.lender == k.borrower {
		return k.n <= b.InsideRoom(k.lender, "h100")
	}
	return b.FitsBorrowing(k.borrower, "h100", k.n) == Fits && k.n <= b.LendingRoom(k.lender, "h100")
}

func book(b *Book, k booking, sign Amount) {
	if k.own {
		b.UseOwn(k.borrower, "h100", sign*k.n)
		return
	}
	b.Lend(k.lender, k.borrower, "h100", sign*k.n)
}

// As long as only what fits is booked, no limit is exceeded, and in every cohort
// as much is borrowed as is lent.
func TestLimitsAndConservation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		tenants, b := drawBook(r)
		grow(r, b, rapid.IntRange(0, 40).Draw(t, "steps"))
		borrowed, lent := map[string]Amount{}, map[string]Amount{}
		for _, tenant := range tenants {
			q, u := tenant.Quotas[0], b.Usage(tenant.Name, "h100")
			if u.Own > q.Nominal {
				t.Fatalf("%s uses %d of its own %d", tenant.Name, u.Own, q.Nominal)
			}
			if u.Own+u.Inside+u.Lent+u.Held > max(q.Nominal, u.Held) {
				t.Fatalf("%s has %d, and uses %+v", tenant.Name, q.Nominal, u)
			}
			if q.BorrowingLimit != nil && u.Borrowed > *q.BorrowingLimit {
				t.Fatalf("%s borrows %d of %d", tenant.Name, u.Borrowed, *q.BorrowingLimit)
			}
			if u.Lent > q.Nominal || q.LendingLimit != nil && u.Lent > *q.LendingLimit {
				t.Fatalf("%s lends %d", tenant.Name, u.Lent)
			}
			if tenant.Cohort == "" && u.Borrowed+u.Lent > 0 {
				t.Fatalf("%s has no cohort, and usage %+v", tenant.Name, u)
			}
			borrowed[tenant.Cohort] += u.Borrowed
			lent[tenant.Cohort] += u.Lent
		}
		for cohort := range borrowed {
			if borrowed[cohort] != lent[cohort] {
				t.Fatalf("cohort %s borrows %d and lends %d", cohort, borrowed[cohort], lent[cohort])
			}
		}
	})
}

// The order of bookings does not matter, and taking all of them back leaves nothing.
func TestOrderAndReturn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		tenants, b := drawBook(r)
		done := grow(r, b, rapid.IntRange(0, 40).Draw(t, "steps"))
		other := NewBook(tenants)
		other.Hold("a", "h100", b.Usage("a", "h100").Held)
		for _, i := range r.Perm(len(done)) {
			book(other, done[i], 1)
		}
		for _, tenant := range tenants {
			if x, y := b.Usage(tenant.Name, "h100"), other.Usage(tenant.Name, "h100"); x != y {
				t.Fatalf("%s: %+v in one order, %+v in another", tenant.Name, x, y)
			}
		}
		for _, i := range r.Perm(len(done)) {
			book(b, done[i], -1)
		}
		for _, tenant := range tenants {
			if u := b.Usage(tenant.Name, "h100"); u != (Usage{Held: u.Held}) {
				t.Fatalf("%s: %+v is left", tenant.Name, u)
			}
		}
	})
}

// Room and verdict agree: n fits exactly when it is not above the room.
func TestRoomAgreesWithVerdict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		tenants, b := drawBook(r)
		grow(r, b, rapid.IntRange(0, 40).Draw(t, "steps"))
		n := Amount(r.IntN(50))
		for _, tenant := range tenants {
			room, verdict := b.BorrowingRoom(tenant.Name, "h100"), b.FitsBorrowing(tenant.Name, "h100", n)
			if (n <= room) != (verdict == Fits) {
				t.Fatalf("%s may borrow %d, and %d is %s", tenant.Name, room, n, verdict)
			}
			for name, room := range map[string]Amount{
				"nominal": b.NominalRoom(tenant.Name, "h100"), "borrowing": room, "lending": b.LendingRoom(tenant.Name, "h100"),
			} {
				if room < 0 {
					t.Fatalf("%s: %s room %d", tenant.Name, name, room)
				}
			}
		}
	})
}
