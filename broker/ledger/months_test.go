package ledger

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testclock "k8s.io/utils/clock/testing"
)

// across opens a loan of 5 lent units an hour before April begins.
func across(t *testing.T, l *Ledger) time.Time {
	t.Helper()
	start := time.Date(2026, 3, 31, 23, 0, 0, 0, time.UTC)
	e := lent(LendIntent, 1)
	e.Payload = []byte(`{"queue":"q","lenders":{"serving/chat":"online","serving/embed":"online"}}`)
	e.Time, e.BootID, e.MonoNS = start, "b", 0
	mustAppend(t, l, e)
	mustAppend(t, l, Entry{Kind: LendGranted, OpID: "g", Epoch: 1, Loan: e.Loan, Time: start, BootID: "b"})
	return start
}

func at(kind Kind, when time.Time, start time.Time) Entry {
	return Entry{Kind: kind, OpID: "then", Epoch: 1, Loan: "research/loan-1", Time: when, BootID: "b", MonoNS: int64(when.Sub(start))}
}

func totals(t *testing.T, l *Ledger, month, tenant string) Total {
	t.Helper()
	all, err := l.Totals(month, tenant)
	if err != nil || len(all) > 1 {
		t.Fatalf("Totals of %s in %s: %v %v", tenant, month, all, err)
	}
	if len(all) == 0 {
		return Total{}
	}
	return all[0]
}

const hour = int64(time.Hour / time.Millisecond)

func TestTimeIsInTheMonthInWhichItPassed(t *testing.T) {
	path := tempPath(t)
	l := openAt(t, path, Options{})
	start := across(t, l)
	reclaim := at(ReclaimIntent, start, start)
	reclaim.OpID, reclaim.ReclaimID = "r", "r"
	mustAppend(t, l, reclaim)
	mustAppend(t, l, at(ReclaimDone, start.Add(3*time.Hour), start))
	for _, again := range []bool{false, true} {
		if again {
			mustClose(t, l)
			l = openAt(t, path, Options{})
		}
		for _, want := range []struct {
			month string
			Total
		}{
			{"2026-03", Total{Tenant: "online", Flavor: "h100", Amounts: Amounts{Lent: Amount{UnitMS: 5 * hour}}}},
			{"2026-04", Total{Tenant: "online", Flavor: "h100", Amounts: Amounts{Lent: Amount{UnitMS: 10 * hour, Units: 5, Loans: 1}}}},
			{"2026-03", Total{Tenant: "research", Flavor: "h100", Amounts: Amounts{Borrowed: Amount{UnitMS: 5 * hour}, Reclaimed: Amount{UnitMS: 5 * hour}}}},
			{"2026-04", Total{Tenant: "research", Flavor: "h100", Amounts: Amounts{
				Borrowed: Amount{UnitMS: 10 * hour, Units: 5, Loans: 1}, Reclaimed: Amount{UnitMS: 10 * hour, Units: 5, Loans: 1}}}},
			{"2026-05", Total{}},
		} {
			if diff := cmp.Diff(want.Total, totals(t, l, want.month, cmpOr(want.Tenant, "research"))); diff != "" {
				t.Errorf("%s of %s (-want +got):\n%s", want.month, want.Tenant, diff)
			}
		}
	}
	entries, err := l.ByTenant("online", 0, 0)
	if err != nil || len(entries) != 4 {
		t.Errorf("the lenders' tenant sees %d entries: %v", len(entries), err)
	}
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func TestWhatIsOpenIsCountedUntilNow(t *testing.T) {
	start := time.Date(2026, 3, 31, 23, 0, 0, 0, time.UTC)
	clock := testclock.NewFakePassiveClock(start)
	l := openAt(t, tempPath(t), Options{Clock: clock, BootID: "b"})
	across(t, l)
	clock.SetTime(start.Add(4 * time.Hour))
	for month, want := range map[string]int64{"2026-03": 5 * hour, "2026-04": 15 * hour} {
		if got := totals(t, l, month, "online"); got.OpenLent != (Amount{UnitMS: want, Units: 5}) || got.Lent != (Amount{}) {
			t.Errorf("%s of the lenders is %+v", month, got)
		}
		if got := totals(t, l, month, "research"); got.OpenBorrowed != (Amount{UnitMS: want, Units: 5}) {
			t.Errorf("%s of the borrower is %+v", month, got)
		}
	}
	mustAppend(t, l, at(Quarantined, start.Add(2*time.Hour), start))
	if got := totals(t, l, "2026-04", "research"); got.OpenBorrowed != (Amount{UnitMS: 5 * hour, Units: 5}) || got.OpenQuarantined != (Amount{UnitMS: 10 * hour, Units: 5}) {
		t.Errorf("in quarantine the borrower is %+v", got)
	}
	if got := totals(t, l, "2026-04", "online"); got.OpenLent != (Amount{UnitMS: 15 * hour, Units: 5}) || got.OpenQuarantined != (Amount{}) {
		t.Errorf("in quarantine the lender is %+v", got)
	}
	for _, month := range []string{"2026-13", "march", "2026-4", ""} {
		if _, err := l.Totals(month, "online"); !errors.Is(err, ErrInvalid) {
			t.Errorf("month %q: %v", month, err)
		}
	}
}

// Nobody is asked for the time of units that nobody could use.
func TestLostAndQuarantinedTimeIsNotTheBorrowers(t *testing.T) {
	for name, tc := range map[string]struct {
		tell       func(l *Ledger, start time.Time)
		borrowed   int64 // hours of each unit
		quarantine int64
		lost       int64
	}{
		"lost": {func(l *Ledger, start time.Time) {
			e := at(Lost, start.Add(5*time.Hour), start)
			e.Payload = fmt.Appendf(nil, `{"lastHeard":%q}`, start.Add(2*time.Hour).Format(time.RFC3339))
			mustAppend(t, l, e)
		}, 2, 0, 3},
		"lost without a word of when": {func(l *Ledger, start time.Time) {
			mustAppend(t, l, at(Lost, start.Add(5*time.Hour), start))
		}, 5, 0, 0},
		"last heard after the end": {func(l *Ledger, start time.Time) {
			e := at(Lost, start.Add(5*time.Hour), start)
			e.Payload = fmt.Appendf(nil, `{"lastHeard":%q}`, start.Add(9*time.Hour).Format(time.RFC3339))
			mustAppend(t, l, e)
		}, 5, 0, 0},
		"quarantined": {func(l *Ledger, start time.Time) {
			mustAppend(t, l, at(Quarantined, start.Add(time.Hour), start))
			mustAppend(t, l, at(Unquarantined, start.Add(6*time.Hour), start))
		}, 1, 5, 0},
		"lost in quarantine": {func(l *Ledger, start time.Time) {
			mustAppend(t, l, at(Quarantined, start.Add(time.Hour), start))
			e := at(Lost, start.Add(6*time.Hour), start)
			e.Payload = fmt.Appendf(nil, `{"lastHeard":%q}`, start.Add(4*time.Hour).Format(time.RFC3339))
			mustAppend(t, l, e)
		}, 1, 3, 2},
	} {
		t.Run(name, func(t *testing.T) {
			path := tempPath(t)
			l := openAt(t, path, Options{})
			start := across(t, l)
			tc.tell(l, start)
			got, sum := map[AccountSide]int64{}, int64(0)
			for _, b := range balances(l) {
				got[b.Account.Side] += b.UnitMS
				sum += b.UnitMS
			}
			all := tc.borrowed + tc.quarantine + tc.lost
			if got[LenderAccount] != 5*all*hour || got[BorrowerAccount] != -5*tc.borrowed*hour ||
				got[QuarantineAccount] != -5*tc.quarantine*hour || got[LostAccount] != -5*tc.lost*hour || sum != 0 {
				t.Errorf("balances are %v, which add up to %d", got, sum)
			}
			var months Amounts
			for _, month := range []string{"2026-03", "2026-04"} {
				row := totals(t, l, month, "research")
				months.Add(&row.Amounts)
				other := totals(t, l, month, "online")
				if other.LentLost != row.Lost || other.LentQuarantined != row.Quarantined || other.Lost.UnitMS+other.Quarantined.UnitMS != 0 {
					t.Errorf("%s: the lender is told of %+v and %+v, the borrower of %+v and %+v", month, other.LentLost, other.LentQuarantined, row.Lost, row.Quarantined)
				}
			}
			if months.Borrowed.UnitMS != 5*tc.borrowed*hour || months.Lost.UnitMS != 5*tc.lost*hour || months.Quarantined.UnitMS != 5*tc.quarantine*hour {
				t.Errorf("months are %+v", months)
			}
			mustClose(t, l)
			if report, err := quickCheck(path); err != nil || !report.OK() {
				t.Errorf("Check: %v %v", err, report.Err())
			}
		})
	}
}
