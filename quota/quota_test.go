package quota

import (
	"math"
	"testing"
)

func limit(n Amount) *Amount { return &n }

func lab() *Book {
	return NewBook([]Tenant{
		{Name: "serving", Cohort: "lab", Quotas: []Quota{{Flavor: "h100", Nominal: 64, LendingLimit: limit(40)}}},
		{Name: "research", Cohort: "lab", Quotas: []Quota{{Flavor: "h100", Nominal: 16, BorrowingLimit: limit(24)}}},
		{Name: "guest", Cohort: "lab", Quotas: []Quota{{Flavor: "h100"}}},
		{Name: "alone", Quotas: []Quota{{Flavor: "h100", Nominal: 8}}},
		{Name: "guest", Cohort: "other"},
	})
}

func TestVerdicts(t *testing.T) {
	b := lab()
	b.Lend("serving", "research", "h100", 20)
	for name, tc := range map[string]struct {
		got, want Verdict
	}{
		"borrowing up to the limit":            {b.FitsBorrowing("research", "h100", 4), Fits},
		"borrowing beyond the limit":           {b.FitsBorrowing("research", "h100", 5), OverBorrowingLimit},
		"borrowing without a limit":            {b.FitsBorrowing("guest", "h100", 1<<40), Fits},
		"borrowing without a cohort":           {b.FitsBorrowing("alone", "h100", 1), NoCohort},
		"a flavor that is not listed":          {b.FitsBorrowing("guest", "a100", 1), UnknownFlavor},
		"a tenant that does not exist":         {b.FitsBorrowing("nobody", "h100", 1), UnknownTenant},
		"nothing always fits a known tenant":   {b.FitsBorrowing("alone", "h100", 0), Fits},
		"the first of two tenants of one name": {b.FitsBorrowing("guest", "h100", 0), Fits},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %s, want %s", name, tc.got, tc.want)
		}
	}
}

func TestRoom(t *testing.T) {
	b := lab()
	b.Reserve("serving", "h100", 60)
	b.UseOwn("research", "h100", 10)
	b.Lend("serving", "research", "h100", 20)
	for name, tc := range map[string]struct {
		got, want Amount
	}{
		"own quota that is left":            {b.NominalRoom("research", "h100"), 6},
		"what services own is not for jobs": {b.NominalRoom("serving", "h100"), 4},
		"own quota of nobody":               {b.NominalRoom("nobody", "h100"), 0},
		"a lending limit":                   {b.LendingRoom("serving", "h100"), 20},
		"no more than own use leaves":       {b.LendingRoom("research", "h100"), 6},
		"lending without a cohort":          {b.LendingRoom("alone", "h100"), 0},
		"lending of nobody":                 {b.LendingRoom("nobody", "h100"), 0},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %d, want %d", name, tc.got, tc.want)
		}
	}
}

func TestMayLend(t *testing.T) {
	b := lab()
	for _, tc := range []struct {
		lender, borrower string
		want             bool
	}{
		{"serving", "research", true},
		{"research", "serving", true},
		{"serving", "serving", true},
		{"alone", "alone", true},
		{"serving", "alone", false},
		{"alone", "serving", false},
		{"serving", "nobody", false},
		{"nobody", "nobody", false},
	} {
		if got := b.MayLend(tc.lender, tc.borrower); got != tc.want {
			t.Errorf("MayLend(%s, %s) = %v", tc.lender, tc.borrower, got)
		}
	}
}

// A loan from a tenant's own service counts against neither limit, but it uses
// nominal quota that then cannot be lent again.
func TestUseWithinTheTenantIsFree(t *testing.T) {
	b := lab()
	b.Lend("serving", "serving", "h100", 50)
	if got := b.Usage("serving", "h100"); got != (Usage{Inside: 50}) {
		t.Errorf("usage = %+v", got)
	}
	if inside, lending := b.InsideRoom("serving", "h100"), b.LendingRoom("serving", "h100"); inside != 14 || lending != 14 {
		t.Errorf("room for %d inside and %d outside", inside, lending)
	}
	b.Hold("serving", "h100", 20)
	if inside, lending := b.InsideRoom("serving", "h100"), b.LendingRoom("serving", "h100"); inside != 0 || lending != 0 {
		t.Errorf("beside other pods, room for %d inside and %d outside", inside, lending)
	}
}

// What is used of a flavor that was never promised is booked, and gives no rights.
func TestUseWithoutQuota(t *testing.T) {
	b := lab()
	b.Lend("gone", "guest", "a100", 4)
	if got := b.Usage("guest", "a100").Borrowed; got != 4 {
		t.Errorf("borrowed = %d", got)
	}
	if b.Lists("guest", "a100") || b.BorrowingRoom("guest", "a100") != 0 || b.Known("gone") {
		t.Error("use gave rights")
	}
}

// Over-use, as after a quota was lowered, leaves no room and never a negative one.
func TestOverUse(t *testing.T) {
	b := NewBook([]Tenant{{Name: "t", Cohort: "c", Quotas: []Quota{
		{Flavor: "h100", Nominal: -5, BorrowingLimit: limit(-1), LendingLimit: limit(-1)},
		{Flavor: "h100", Nominal: 99},
	}}})
	b.UseOwn("t", "h100", 10)
	b.Reserve("t", "h100", math.MaxInt64)
	b.Lend("t", "u", "h100", math.MaxInt64)
	for name, room := range map[string]Amount{
		"nominal": b.NominalRoom("t", "h100"), "borrowing": b.BorrowingRoom("t", "h100"), "lending": b.LendingRoom("t", "h100"),
	} {
		if room != 0 {
			t.Errorf("%s room = %d", name, room)
		}
	}
}

func TestAmountSaturates(t *testing.T) {
	const most, least = Amount(math.MaxInt64), Amount(math.MinInt64)
	for name, tc := range map[string]struct{ got, want Amount }{
		"add":          {most.Add(1), most},
		"add negative": {least.Add(-1), least},
		"sub":          {least.Sub(1), least},
		"sub least":    {Amount(0).Sub(least), most},
		"sub least -1": {Amount(-1).Sub(least), most},
		"times":        {most.Times(2), most},
		"times fits":   {Amount(6).Times(7), 42},
		"times none":   {Amount(6).Times(-7), 0},
		"zero":         {Amount(-3).AtLeastZero(), 0},
	} {
		if tc.got != tc.want {
			t.Errorf("%s = %d, want %d", name, tc.got, tc.want)
		}
	}
}
