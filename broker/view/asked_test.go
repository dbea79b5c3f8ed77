package view

import (
	"math"
	"strings"
	"testing"
	"time"
)

var midday = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestLoadPicture(t *testing.T) {
	line := &LoadLine{Lender: "serving/chat", LowWater: 0.3, HighWater: 0.7, From: midday, StepSeconds: 60,
		Utilization: Values{0.1, 0.1, 0.5, 0.9, 1.4, math.NaN(), 0.1, 0.1, 0.1, 0.1}}
	got := LoadPicture(line, Axis{From: midday, To: midday.Add(10 * time.Minute), Width: 10})
	want := strings.Join([]string{
		"serving/chat 140%        |    *",
		"                         |",
		"                         |   *",
		"high water 70%           |- - - - -",
		"                         |",
		"                         |  *",
		"low water 30%            |- - - - -",
		"0%                       |**   ?****",
	}, "\n") + "\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A step longer than a column fills it; what is outside the axis is left out.
func TestLoadPictureOfCoarseSteps(t *testing.T) {
	line := &LoadLine{From: midday.Add(-time.Hour), StepSeconds: 1800, HighWater: 0.7, LowWater: 0.3, Utilization: Values{0.99, 0.99, 0.5}}
	got := columnsOf(line, Axis{From: midday, To: midday.Add(time.Hour), Width: 10})
	for i, v := range got {
		if i < 5 && v != 0.5 && !(i == 0 && v == 0.99) || i >= 5 && !math.IsNaN(v) {
			t.Errorf("column %d is %v", i, v)
		}
	}
}

func TestSum(t *testing.T) {
	axis := Axis{From: midday, To: midday.Add(10 * time.Hour), Width: 50}
	at := func(hours float64) time.Time { return midday.Add(time.Duration(hours * float64(time.Hour))) }
	lent := []string{"serving/chat"}
	for name, tt := range map[string]struct {
		span LoanSpan
		want Summary
	}{
		"within":         {LoanSpan{Lenders: lent, Units: 4, From: at(1), To: at(3)}, Summary{UnitHours: 8}},
		"runs on":        {LoanSpan{Lenders: lent, Units: 4, From: at(9)}, Summary{UnitHours: 4}},
		"from before":    {LoanSpan{Lenders: lent, Units: 2, From: at(-5), To: at(1)}, Summary{UnitHours: 2}},
		"got smaller":    {LoanSpan{Lenders: lent, Units: 8, From: at(0), Changes: []UnitsChange{{at(1), 4}, {at(2), 2}}, To: at(3)}, Summary{UnitHours: 14}},
		"own quota":      {LoanSpan{Units: 8, From: at(0), To: at(3)}, Summary{}},
		"taken back":     {LoanSpan{Lenders: lent, Units: 1, From: at(0), ReclaimAt: at(1), To: at(1.5)}, Summary{UnitHours: 1.5, Reclaims: 1, Returns: 1, Slowest: 30 * time.Minute}},
		"on its way":     {LoanSpan{Lenders: lent, Units: 1, From: at(0), ReclaimAt: at(9)}, Summary{UnitHours: 10, Reclaims: 1}},
		"asked long ago": {LoanSpan{Lenders: lent, Units: 1, From: at(-9), ReclaimAt: at(-1), To: at(-0.5)}, Summary{}},
	} {
		if got := Sum([]LoanSpan{tt.span}, axis); math.Abs(got.UnitHours-tt.want.UnitHours) > 1e-9 || got.Reclaims != tt.want.Reclaims || got.Returns != tt.want.Returns || got.Slowest != tt.want.Slowest {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
	if got := (Summary{UnitHours: 9.4, Reclaims: 2, Returns: 2, Slowest: 21 * time.Second}).String(); got != "lent 9.4 GPU-h, taken back 2, slowest return 21.0s" {
		t.Error(got)
	}
}

func TestQuotaTree(t *testing.T) {
	got := QuotaTree([]QuotaRow{
		{Name: "lab", Kind: KindCohort},
		{Name: "research", Kind: KindTenant, Depth: 1, Flavors: []QuotaUnits{{Flavor: "h100", Nominal: 16, Used: 24, Borrowed: 8, Available: 8}}},
		{Name: "serving", Kind: KindTenant, Depth: 1, Flavors: []QuotaUnits{{Flavor: "h100", Nominal: 32, Used: 8, Lent: 16}, {Flavor: "none"}}},
	})
	want := strings.Join([]string{
		"NAME        FLAVOR    NOMINAL   USED   LENT  BORROWED AVAILABLE",
		"lab",
		"  research  h100           16     24      0         8         8  ################|++++++++",
		"  serving   h100           32      8     16         0         0  ########llllllllllllllll........|",
		"            none            0      0      0         0         0  |",
		QuotaLegend,
	}, "\n") + "\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestCapacity(t *testing.T) {
	got := Capacity([]UnitsRow{{Flavor: "h100", Capacity: 64, Own: 32, Services: 32, Lent: 16, Free: 15, Broken: 1}, {Flavor: "none"}}, 32)
	if want := "h100       [SSSSSSSSSSSSSSSSLLLLLLLL.......x] 64: 32 services, 0 training, 0 other, 16 lent, 15 free, 1 broken\n"; !strings.HasPrefix(got, want) {
		t.Errorf("got %q", got)
	}
	for _, r := range got {
		if r > 126 {
			t.Errorf("%q is not ASCII", r)
		}
	}
}

func TestEndings(t *testing.T) {
	table := Endings([]Ending{{Loan: "a/b", Job: "a/j", Borrower: "a", Units: 4, LostWork: 20}, {Loan: "c/d", Part: true, Grace: time.Minute, LostWork: 5400, By: midday.Add(time.Minute)}}, midday)
	for i, want := range []string{"a/b a/j a 4 Whole <unknown> 20GPU-s <unknown>", "c/d <none> <none> 0 Part 60s 1.50GPU-h 60s"} {
		if got := strings.Join(table.Rows[i], " "); got != want {
			t.Errorf("row %d is %q, want %q", i, got, want)
		}
	}
}
