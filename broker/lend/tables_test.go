package lend

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

// The fail-safe rules, one by one: what makes a load unknown, low, high or neither.
func TestReadLoad(t *testing.T) {
	good := Lender{
		Owned: 16, UnitsPerPod: 2, Desired: 4, Running: 4, Ready: 4, LowWater: 0.3, HighWater: 0.7,
		Load: Load{Known: true, ObservedAt: noon, Coverage: 1, Requests: 160, Slots: 100},
	}
	for name, tc := range map[string]struct {
		change func(l *Lender)
		mark   mark
		reason string
	}{
		"low":                  {func(l *Lender) {}, markLow, ""},
		"at the low water":     {func(l *Lender) { l.Load.Requests = 240 }, markBetween, ""},
		"at the high water":    {func(l *Lender) { l.Load.Requests = 560 }, markBetween, ""},
		"above the high water": {func(l *Lender) { l.Load.Requests = 561 }, markHigh, ""},
		"signal at its low":    {func(l *Lender) { l.Load.Signals = []Signal{{Name: "q", Value: 5, Low: 5, High: 20}} }, markBetween, ""},
		"signal above its high": {func(l *Lender) {
			l.Load.Signals = []Signal{{Name: "q", Value: 1, Low: 5, High: 20}, {Name: "r", Value: 21, Low: 5, High: 20}}
		}, markHigh, ""},
		"signals alone":         {func(l *Lender) { l.Load.Slots, l.Load.Signals = 0, []Signal{{Name: "q", Value: 1, Low: 5, High: 20}} }, markLow, ""},
		"no signal":             {func(l *Lender) { l.Load.Slots = 0 }, markUnknown, ReasonLoadUnknown},
		"not known":             {func(l *Lender) { l.Load.Known = false }, markUnknown, ReasonLoadUnknown},
		"stale":                 {func(l *Lender) { l.Load.ObservedAt = noon.Add(-46 * time.Second) }, markUnknown, ReasonLoadSampleStale},
		"just not stale":        {func(l *Lender) { l.Load.ObservedAt = noon.Add(-45 * time.Second) }, markLow, ""},
		"never observed":        {func(l *Lender) { l.Load.ObservedAt = time.Time{} }, markUnknown, ReasonLoadSampleStale},
		"from the future":       {func(l *Lender) { l.Load.ObservedAt = noon.Add(1) }, markUnknown, ReasonLoadUnknown},
		"coverage low":          {func(l *Lender) { l.Load.Coverage = 0.89 }, markUnknown, ReasonLoadCoverageLow},
		"coverage not a number": {func(l *Lender) { l.Load.Coverage = math.NaN() }, markUnknown, ReasonLoadCoverageLow},
		"NaN":                   {func(l *Lender) { l.Load.Requests = math.NaN() }, markUnknown, ReasonLoadUnknown},
		"infinite":              {func(l *Lender) { l.Load.Slots = math.Inf(1) }, markUnknown, ReasonLoadUnknown},
		"negative":              {func(l *Lender) { l.Load.Signals = []Signal{{Name: "q", Value: -1, Low: 5, High: 20}} }, markUnknown, ReasonLoadUnknown},
		"absurd":                {func(l *Lender) { l.Load.Requests = 2e15 }, markUnknown, ReasonLoadUnknown},
		"panic not a number":    {func(l *Lender) { l.Load.Panic = math.NaN() }, markUnknown, ReasonLoadUnknown},
		"a share not a number": {func(l *Lender) {
			l.Load.Signals = []Signal{{Name: "q", Value: 1, Low: 5, High: 20, PerReplica: math.NaN()}}
		}, markUnknown, ReasonLoadUnknown},
		"low but for seconds": {func(l *Lender) { l.Load.Panic = 240 }, markBetween, ""},
		"nobody ready":        {func(l *Lender) { l.Ready = 0 }, markUnknown, ReasonLoadUnknown},
		"owns nothing":        {func(l *Lender) { l.Owned = 0 }, markUnknown, ReasonLoadUnknown},
		"asleep with none to ask": {func(l *Lender) {
			l.Desired, l.Running, l.Load = 0, 0, Load{Known: true, ObservedAt: l.Load.ObservedAt}
		}, markLow, ""},
		"asleep, half heard":      {func(l *Lender) { l.Desired, l.Running, l.Load.Coverage, l.Load.Requests = 0, 0, 0.5, 0 }, markUnknown, ReasonLoadCoverageLow},
		"asleep without load":     {func(l *Lender) { l.Desired, l.Running, l.Load = 0, 0, Load{} }, markUnknown, ReasonLoadUnknown},
		"asleep with a backlog":   {func(l *Lender) { l.Desired, l.Running, l.Load.Requests = 0, 0, 900 }, markHigh, ""},
		"waking":                  {func(l *Lender) { l.Desired, l.Running, l.Ready, l.Load = 1, 0, 0, Load{} }, markUnknown, ReasonLoadUnknown},
		"asleep with a pod there": {func(l *Lender) { l.Desired, l.Running, l.Load = 0, 1, Load{} }, markUnknown, ReasonLoadUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			in := good
			tc.change(&in)
			got := readLoad(newLender(in, LenderState{}), noon, DefaultPolicy())
			if got.mark != tc.mark || got.reason != tc.reason {
				t.Errorf("mark %v, reason %q; want %v, %q (%s)", got.mark, got.reason, tc.mark, tc.reason, got.message)
			}
		})
	}
}

// Need, headroom and lendable, in units.
func TestArithmetic(t *testing.T) {
	base := Lender{
		Owned: 64, UnitsPerPod: 4, Desired: 3, Running: 3, Ready: 3, LowWater: 0.3, HighWater: 0.7, Warm: 1,
		Load: Load{Known: true, ObservedAt: noon, Coverage: 1, Requests: 40, Slots: 100},
	}
	type sum struct{ Need, Headroom, Lendable int64 }
	for name, tc := range map[string]struct {
		change func(l *Lender)
		lent   int64
		want   sum
	}{
		"the autoscaler wants more than the load":     {func(l *Lender) {}, 0, sum{12, 4, 48}},
		"the load wants more":                         {func(l *Lender) { l.Load.Requests = 281 }, 0, sum{20, 4, 40}},
		"an exact multiple is not rounded up":         {func(l *Lender) { l.Load.Requests = 280 }, 0, sum{16, 4, 44}},
		"lent is not lent again":                      {func(l *Lender) {}, 40, sum{12, 4, 8}},
		"lent too much already":                       {func(l *Lender) {}, 60, sum{12, 4, 0}},
		"pods that wait count":                        {func(l *Lender) { l.Pending = make([]PendingPod, 4) }, 0, sum{28, 4, 32}},
		"need stops at owned, and leaves no headroom": {func(l *Lender) { l.Desired = 99 }, 0, sum{64, 0, 0}},
		"headroom stops at owned":                     {func(l *Lender) { l.Desired, l.Warm = 14, 99 }, 0, sum{56, 8, 0}},
		"no headroom":                                 {func(l *Lender) { l.Warm = 0 }, 0, sum{12, 0, 52}},
		"a high signal adds at most half": {func(l *Lender) {
			l.Load.Signals = []Signal{{Name: "kv", Value: 4, Low: 1, High: 2}}
		}, 0, sum{20, 4, 40}},
		"a high signal adds its share": {func(l *Lender) {
			l.Running, l.Load.Signals = 10, []Signal{{Name: "kv", Value: 2.2, Low: 1, High: 2}}
		}, 0, sum{44, 4, 16}},
		// 40 requests on slots of 10 load 4 replicas fully: below 70% takes 23 units.
		"what is left stays below the high water": {func(l *Lender) {
			l.Owned, l.Load.Slots, l.Load.Requests, l.Warm, l.HighWater = 64, 10, 40, 0, 0.5
		}, 0, sum{24, 0, 32}},
		"in the panic window as well": {func(l *Lender) {
			l.Owned, l.Load.Slots, l.Load.Requests, l.Load.Panic, l.Warm, l.HighWater = 64, 10, 10, 40, 0, 0.5
		}, 0, sum{12, 0, 32}},
		"unknown: all that is not lent is needed": {func(l *Lender) { l.Load.Known = false }, 40, sum{24, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			in := base
			tc.change(&in)
			l := newLender(in, LenderState{})
			l.lent = tc.lent
			l.load = readLoad(l, noon, DefaultPolicy())
			l.size(noon, DefaultPolicy())
			got := sum{l.need.units, l.headroom, l.lendableUnits()}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoanName(t *testing.T) {
	valid := regexp.MustCompile(`^([a-z0-9-]+/)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	seen := map[string]string{}
	for _, j := range []Job{
		{Name: "research/train", UID: "a"},
		{Name: "research/train", UID: "b"},
		{Name: "research/train", UID: "a", Attempt: 1},
		{Name: "research/" + strings.Repeat("long", 40), UID: "c"},
		{Name: "research/with.dots.and_Caps-", UID: "d"},
		{Name: "research/..." + strings.Repeat(".", 80), UID: "e"},
		{Name: "nonamespace", UID: "f"},
		{Name: "", UID: "g", Attempt: math.MaxInt32},
		{Name: "research/größe", UID: "h", Attempt: -5},
	} {
		name := loanName(&j)
		if !valid.MatchString(name) {
			t.Errorf("%q gives %q", j.Name, name)
		}
		if other, twice := seen[name]; twice {
			t.Errorf("%q and %q are both %q", other, j.Name, name)
		}
		seen[name] = j.Name
		if again := loanName(&j); again != name {
			t.Errorf("%q, then %q", name, again)
		}
	}
}

func TestCheckLaws(t *testing.T) {
	clean := func() Snapshot {
		return Snapshot{
			Now: noon,
			Nodes: []Node{
				{Name: "a", Units: []Units{{Flavor: "h100", Capacity: 8, Online: 4, Leaving: 4}}},
				{Name: "b", Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8}}},
			},
			Tenants: []Tenant{
				{Name: "research", Quotas: []Quota{{Flavor: "h100", Nominal: 8}}},
				{Name: "serving", Quotas: []Quota{{Flavor: "h100", Nominal: 8}}},
			},
			Lenders: []Lender{{Name: "s", Tenant: "serving", Flavor: "h100", Owned: 8, UnitsPerPod: 8}},
			Loans: []Loan{
				{Name: "own", JobUID: "1", Live: 1, Borrower: "research", Grants: []Grant{{Node: "a", Flavor: "h100", Count: 4}}},
				{Name: "lent", JobUID: "2", Live: 1, Borrower: "research", Grants: []Grant{{Lender: "s", Node: "b", Flavor: "h100", Count: 8}}},
			},
		}
	}
	for name, tc := range map[string]struct {
		change func(s *Snapshot)
		want   []string
	}{
		"none":                             {func(s *Snapshot) {}, nil},
		"more held than there is":          {func(s *Snapshot) { s.Nodes[0].Units[0].Online = 5 }, []string{"1 a/h100"}},
		"held on broken units":             {func(s *Snapshot) { s.Nodes[0].Units[0].Capacity, s.Nodes[0].Units[0].Broken = 6, 2 }, nil},
		"an ending loan's place was taken": {func(s *Snapshot) { s.Nodes[1].Units[0].Online, s.Lenders[0].Running, s.Loans[1].Preempted = 8, 1, true }, nil},
		"negative":                         {func(s *Snapshot) { s.Nodes[1].Units[0].Other = -1 }, []string{"1 b/h100"}},
		"a grant of nothing":               {func(s *Snapshot) { s.Loans[1].Grants[0].Count = 0 }, []string{"1 lent"}},
		"two loans of one job":             {func(s *Snapshot) { s.Loans[1].JobUID, s.Loans[0].Job, s.Loans[1].Job = "1", "j", "j" }, []string{"1 j"}},
		"own quota where the owner's pod must go": {
			func(s *Snapshot) { s.Loans[1].Grants[0].Lender = "" }, []string{"2 h100"},
		},
		"more promised than there is": {
			func(s *Snapshot) { s.Loans[1].Grants[0].Lender = ""; s.Tenants[0].Quotas[0].Nominal = 9 }, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := clean()
			tc.change(&in)
			var got []string
			for _, v := range CheckLaws(in) {
				got = append(got, fmt.Sprintf("%d %s", v.Law, v.Subject))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadRecordRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":         `{`,
		"an unknown field": `{"snapshots":{}}`,
		"more than one":    `{} {}`,
	} {
		if _, err := ReadRecord([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "read decision record: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := MarshalRecord(Record{Snapshot: Snapshot{Lenders: []Lender{{LowWater: math.NaN()}}}}); err == nil {
		t.Error("NaN was written")
	}
}

// A live clock's monotonic reading does not survive a record, so a decision must
// not use it.
func TestDecideUsesTheWallClock(t *testing.T) {
	in := four()
	in.Now = time.Now()
	_, next := Decide(in, State{}, DefaultPolicy())
	if since := next.Lenders[0].UnknownSince; since != since.Round(0) || since.IsZero() {
		t.Errorf("remembered %v", since)
	}
}
