package statement

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testclock "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

const hour = 3_600_000

func TestRows(t *testing.T) {
	until := time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	head := Head{Seq: 7, Hash: ledger.Hash{1}}
	got := Of("research", "2026-11", head, []ledger.Total{
		{Flavor: "a100", Amounts: ledger.Amounts{Lent: ledger.Amount{UnitMS: 3 * hour, Units: 2, Loans: 1}, LentLost: ledger.Amount{UnitMS: hour}}},
		{Flavor: "h100", Until: until, Amounts: ledger.Amounts{
			Borrowed: ledger.Amount{UnitMS: 8 * hour, Units: 8, Loans: 2}, Reclaimed: ledger.Amount{UnitMS: 2 * hour, Units: 4, Loans: 1},
			Quarantined: ledger.Amount{UnitMS: hour / 2},
		}, OpenBorrowed: ledger.Amount{UnitMS: hour, Units: 4}, OpenQuarantined: ledger.Amount{UnitMS: 2 * hour, Units: 1}},
	})
	want := Statement{Tenant: "research", Month: "2026-11", Head: head, OpenUntil: until, Rows: []Row{
		{Flavor: "a100", Role: Lender, Lent: 3 * hour, Units: 2, Loans: 1, Lost: hour},
		{Flavor: "h100", Role: Borrower, Borrowed: 8 * hour, Units: 8, Loans: 2, Reclaimed: &Reclaimed{2 * hour, 4, 1}, Quarantined: hour / 2},
		{Flavor: "h100", Role: Borrower, Open: true, Borrowed: hour, Units: 4, Quarantined: 2 * hour},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	prices, err := ReadPrices([]byte(`{"prices":[{"flavor":"h100","perGPUHour":2.5,"currency":"EUR","lenderShare":"0.7"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Price(prices); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	text := `{"tenant":"research","month":"2026-11","head":{"seq":7,"hash":"` + head.Hash.String() + `"},"openUntil":"2026-11-22T05:00:00Z","rows":[` +
		`{"flavor":"a100","role":"Lender","lentGPUHours":3,"units":2,"loans":1,"lostGPUHours":1},` +
		`{"flavor":"h100","role":"Borrower","borrowedGPUHours":8,"units":8,"loans":2,"reclaimed":{"gpuHours":2,"units":4,"loans":1},"quarantinedGPUHours":0.5,"amount":-20.000000,"currency":"EUR"},` +
		`{"flavor":"h100","role":"Borrower","open":true,"borrowedGPUHours":1,"units":4,"quarantinedGPUHours":2,"amount":-2.500000,"currency":"EUR"}],` +
		`"money":[{"amount":-22.500000,"currency":"EUR"}],"unpriced":["a100"]}`
	if diff := cmp.Diff(text, string(data)); diff != "" {
		t.Errorf("as JSON (-want +got):\n%s", diff)
	}
	var again Statement
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("read again (-want +got):\n%s", diff)
	}
}

// A row is rounded once, to the nearest millionth, and halves away from 0.
func TestAmountsAreRoundedOnce(t *testing.T) {
	for _, tc := range []struct {
		role  Role
		hours Hours
		price Price
		want  Micros
	}{
		{Borrower, hour, Price{PerGPUHour: 2_500_000}, -2_500_000},
		{Borrower, 1, Price{PerGPUHour: 1_800_000}, -1}, // half a millionth
		{Borrower, 1, Price{PerGPUHour: 1_799_999}, 0},  // less
		{Borrower, -1, Price{PerGPUHour: 1_800_000}, 1}, // as a correction may leave it
		{Lender, hour, Price{PerGPUHour: 1, LenderShare: 500_000}, 1},
		{Lender, hour, Price{PerGPUHour: 1, LenderShare: 499_999}, 0},
		{Lender, hour / 3, Price{PerGPUHour: 1_000_000, LenderShare: 333_333}, 111_111},
		{Lender, hour, Price{PerGPUHour: 2_500_000, LenderShare: 0}, 0},
		{Lender, 1_000_000 * hour, Price{PerGPUHour: 999_999_999_999, LenderShare: 1_000_000}, 999_999_999_999_000_000},
	} {
		row := Row{Role: tc.role, Lent: tc.hours, Borrowed: tc.hours}
		if got := tc.price.of(&row); got.Cmp(big.NewInt(int64(tc.want))) != 0 {
			t.Errorf("%s of %d ms at %+v: %s, want %d", tc.role, tc.hours, tc.price, got, tc.want)
		}
	}
	s := Statement{Rows: []Row{{Role: Lender, Flavor: "h100", Lent: math.MaxInt64}}}
	if err := s.Price(Prices{"h100": {PerGPUHour: mostPerHour, LenderShare: 1_000_000}}); err == nil {
		t.Error("an amount that no number holds is no error")
	}
}

func TestPriceListsThatAreWrong(t *testing.T) {
	const good = `"flavor":"h100","perGPUHour":"2.5","currency":"EUR"`
	for list, want := range map[string]string{
		`{"prices":[{` + good + `}]}`:                 "",
		`{"prices":[{` + good + `,"lenderShare":1}]}`: "",
		`{}`:                              "prices: at least one is required",
		`[]`:                              "prices: cannot unmarshal array into Go value of type struct",
		`{"price":[]}`:                    `prices: unknown field "price"`,
		`{"prices":[{"flavour":"h100"}]}`: `prices: unknown field "flavour"`,
		`{"prices":[{` + good + `}]} {}`:  "prices: something follows the list",
		`{"prices":[{"perGPUHour":1,"currency":"EUR"}]}`:                           "prices[0].flavor: is required",
		`{"prices":[{"flavor":"h100","currency":"EUR"}]}`:                          "prices[0].perGPUHour: is required",
		`{"prices":[{"flavor":"h100","perGPUHour":"2,5","currency":"EUR"}]}`:       `prices[0].perGPUHour: "2,5" is not a decimal number`,
		`{"prices":[{"flavor":"h100","perGPUHour":1e2,"currency":"EUR"}]}`:         `prices[0].perGPUHour: "1e2" is not a decimal number`,
		`{"prices":[{"flavor":"h100","perGPUHour":null,"currency":"EUR"}]}`:        `prices[0].perGPUHour: "null" is not a decimal number`,
		`{"prices":[{"flavor":"h100","perGPUHour":"1.0000001","currency":"EUR"}]}`: `prices[0].perGPUHour: "1.0000001" is not a decimal number with at most 13 digits and 6 places`,
		`{"prices":[{"flavor":"h100","perGPUHour":-1,"currency":"EUR"}]}`:          "prices[0].perGPUHour: -1 is outside 0 to 1000000",
		`{"prices":[{"flavor":"h100","perGPUHour":1000001,"currency":"EUR"}]}`:     "prices[0].perGPUHour: 1000001 is outside 0 to 1000000",
		`{"prices":[{"flavor":"h100","perGPUHour":1,"currency":"euro"}]}`:          `prices[0].currency: "euro" is not three capital letters, such as EUR`,
		`{"prices":[{` + good + `,"lenderShare":1.5}]}`:                            "prices[0].lenderShare: 1.5 is outside 0 to 1",
		`{"prices":[{` + good + `},{` + good + `}]}`:                               `prices[1].flavor: "h100" has a price already`,
	} {
		_, err := ReadPrices([]byte(list))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", list, err)
		case want != "" && (err == nil || len(err.Error()) < len(want) || err.Error()[:len(want)] != want):
			t.Errorf("%s: %v, want %s", list, err, want)
		}
	}
}

// What is written as hours or money is read as the same milliseconds and millionths.
func TestNumbersSurviveJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Hours(rapid.Int64().Draw(t, "ms"))
		m := Micros(rapid.Int64Min(-math.MaxInt64).Draw(t, "micros"))
		text, err := json.Marshal([]any{h, m})
		if err != nil {
			t.Fatal(err)
		}
		var raw []json.RawMessage
		var againH Hours
		var againM Micros
		if err := json.Unmarshal(text, &raw); err != nil || json.Unmarshal(raw[0], &againH) != nil || json.Unmarshal(raw[1], &againM) != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if againH != h || againM != m {
			t.Fatalf("%d and %d became %s, and %d and %d", h, m, text, againH, againM)
		}
	})
	for h, want := range map[Hours]string{0: "0.000", 1: "0.000", 1800: "0.001", 1799: "0.000", -1800: "-0.001", 5 * hour / 2: "2.500", 1234567 * hour: "1234567.000"} {
		if h.String() != want {
			t.Errorf("%d ms are %s hours, want %s", int64(h), h, want)
		}
	}
}

// What all tenants lent is what all borrowed, lost and have in quarantine, in every month and
// flavor, open or ended.
func TestStatementsAddUp(t *testing.T) {
	dir, run, lent, others := t.TempDir(), 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		now := time.Date(2026, 1, 20, 0, 0, 0, 0, time.UTC)
		clock := testclock.NewFakePassiveClock(now)
		l, err := ledger.Open(filepath.Join(dir, fmt.Sprint(run)), ledger.Options{Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		now = draw(t, l, now)
		clock.SetTime(now.Add(time.Hour))
		for month := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); month.Before(now.AddDate(0, 1, 0)); month = month.AddDate(0, 1, 0) {
			left := map[string]Hours{}
			for _, tenant := range []string{"", "online", "search", "research", "vision"} {
				totals, err := l.Totals(month.Format("2006-01"), tenant)
				if err != nil {
					t.Fatal(err)
				}
				s := Of(tenant, month.Format("2006-01"), Head{}, totals)
				for _, row := range s.Rows {
					left[row.Flavor] += row.Lent
					if row.Lent > 0 {
						lent++
					}
					if row.Role == Borrower {
						if row.Lost+row.Quarantined > 0 {
							others++
						}
						left[row.Flavor] -= row.Borrowed + row.Lost + row.Quarantined
					}
				}
			}
			for flavor, ms := range left {
				if ms != 0 {
					t.Fatalf("in %s all lent %d ms of %s more than others had", month.Format("2006-01"), ms, flavor)
				}
			}
		}
	})
	if lent == 0 || others == 0 {
		t.Errorf("%d rows of lenders, %d with what was lost or in quarantine", lent, others)
	}
}

// draw writes loans of many kinds, over some months, in one transaction; it returns when the
// last entry is.
func draw(t *rapid.T, l *ledger.Ledger, now time.Time) time.Time {
	var entries []ledger.Entry
	add := func(e ledger.Entry) {
		now = now.Add(time.Duration(rapid.Int64Range(1, 40*3600_000).Draw(t, "wait")) * time.Millisecond)
		e.Epoch, e.Time = 1, now
		e.OpID = fmt.Sprint(len(entries))
		entries = append(entries, e)
	}
	for i := range rapid.IntRange(1, 12).Draw(t, "loans") {
		name := fmt.Sprintf("ns/loan-%d", i)
		e := ledger.Entry{Kind: ledger.LendIntent, Loan: name, Job: name, JobUID: name, Borrower: rapid.SampledFrom([]string{"research", "vision", "online"}).Draw(t, "borrower")}
		for range rapid.IntRange(1, 3).Draw(t, "grants") {
			e.Grants = append(e.Grants, ledger.Grant{
				Lender: rapid.SampledFrom([]string{"", "serving/chat", "search/rank", "x/unknown"}).Draw(t, "lender"), Node: "n",
				Flavor: rapid.SampledFrom([]string{"h100", "a100"}).Draw(t, "flavor"), Count: rapid.Int64Range(1, 8).Draw(t, "count"),
			})
		}
		e.Payload = []byte(`{"lenders":{"serving/chat":"online","search/rank":"search"}}`)
		add(e)
		add(ledger.Entry{Kind: ledger.LendGranted, Loan: name})
		switch rapid.IntRange(0, 5).Draw(t, "end") {
		case 0:
			add(ledger.Entry{Kind: ledger.Released, Loan: name})
		case 1:
			add(ledger.Entry{Kind: ledger.ReclaimIntent, Loan: name, ReclaimID: name})
			add(ledger.Entry{Kind: ledger.ReclaimDone, Loan: name})
		case 2:
			heard := now.Add(time.Duration(rapid.Int64Range(-3600_000, 20*3600_000).Draw(t, "heard")) * time.Millisecond)
			add(ledger.Entry{Kind: ledger.Lost, Loan: name, Payload: fmt.Appendf(nil, `{"lastHeard":%q}`, heard.Format(time.RFC3339Nano))})
		case 3:
			add(ledger.Entry{Kind: ledger.Quarantined, Loan: name})
			add(ledger.Entry{Kind: ledger.Unquarantined, Loan: name})
		case 4:
			add(ledger.Entry{Kind: ledger.Quarantined, Loan: name})
		}
	}
	if rapid.Bool().Draw(t, "corrects") {
		add(ledger.Entry{Kind: ledger.Correction, Corrects: 1, Message: "it was lost earlier", Payload: []byte(
			`{"postings":[{"account":"borrower/research","flavor":"h100","unitMS":700},{"account":"lost","flavor":"h100","unitMS":-700,"tenant":"research"}]}`)})
	}
	if _, err := l.AppendAll(entries); err != nil {
		t.Fatal(err)
	}
	return now
}
