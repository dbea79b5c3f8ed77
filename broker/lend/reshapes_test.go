package lend

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// When a change came into its state is what is said, but not before it was last seen in
// another one, nor in the future.
func TestSinceWhenInState(t *testing.T) {
	ago := func(d time.Duration) time.Time { return noon.Add(-d) }
	last := ago(5 * time.Second)
	for name, test := range map[string]struct {
		memory ReshapeMemory
		state  ReshapeState
		said   time.Time
		want   time.Time
	}{
		"nothing is known":                       {ReshapeMemory{}, ReshapeMade, time.Time{}, noon},
		"it is said":                             {ReshapeMemory{}, ReshapeMade, ago(time.Hour), ago(time.Hour)},
		"it is said to be to come":               {ReshapeMemory{}, ReshapeMade, ago(-time.Hour), noon},
		"it was seen before":                     {ReshapeMemory{State: ReshapeMade, Entered: ago(time.Minute)}, ReshapeMade, time.Time{}, ago(time.Minute)},
		"it was seen before it is said":          {ReshapeMemory{State: ReshapeMade, Entered: ago(time.Minute)}, ReshapeMade, ago(time.Second), ago(time.Second)},
		"it was seen after it is said":           {ReshapeMemory{State: ReshapeMade, Entered: ago(time.Minute)}, ReshapeMade, ago(time.Hour), ago(time.Minute)},
		"it was seen, and is said to be to come": {ReshapeMemory{State: ReshapeMade, Entered: ago(time.Minute)}, ReshapeMade, ago(-time.Hour), ago(time.Minute)},
		"it will be seen":                        {ReshapeMemory{State: ReshapeMade, Entered: ago(-time.Minute)}, ReshapeMade, time.Time{}, noon},
		"it was in another, long ago as is said": {ReshapeMemory{State: ReshapeMaking, Entered: ago(time.Hour)}, ReshapeMade, ago(time.Hour), last},
		"it was in another, and nothing is said": {ReshapeMemory{State: ReshapeMaking, Entered: ago(time.Hour)}, ReshapeMade, time.Time{}, noon},
		"it was in another until it is said":     {ReshapeMemory{State: ReshapeMaking, Entered: ago(time.Hour)}, ReshapeMade, ago(time.Second), ago(time.Second)},
		"it was decided":                         {ReshapeMemory{At: ago(time.Minute)}, ReshapeMaking, time.Time{}, ago(time.Minute)},
		"it was decided before it is said":       {ReshapeMemory{At: ago(time.Minute)}, ReshapeMaking, ago(time.Second), ago(time.Second)},
		"another was decided":                    {ReshapeMemory{At: ago(time.Minute)}, ReshapeMade, time.Time{}, noon},
	} {
		test.memory.GPU = "A"
		d := &decision{now: noon, last: last}
		s := &reshapes{memory: map[string]ReshapeMemory{"A": test.memory}}
		if got := s.since(d, &Reshape{GPU: "A", State: test.state, Since: test.said}); !got.Equal(test.want) {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// A change that was begun and is not seen counts for a minute, if another one of its GPU is
// not seen; one of nothing does not count.
func TestWhichChangesCount(t *testing.T) {
	begun := func(at time.Time) []ReshapeMemory {
		r := Reshape{ID: "rs9", GPU: "A", Lender: "serving/chat", From: "a100-1g", Count: 4, To: "a100-4g", Made: 1, State: ReshapeMaking}
		return []ReshapeMemory{{GPU: "A", Node: "n", At: at, Begun: &r}}
	}
	for name, test := range map[string]struct {
		change func(*Snapshot)
		memory []ReshapeMemory
		ids    string
	}{
		"one":                         {func(*Snapshot) {}, nil, "rs"},
		"of nothing":                  {func(in *Snapshot) { in.Nodes[0].Reshapes[0].Count = 0 }, nil, ""},
		"of less than nothing":        {func(in *Snapshot) { in.Nodes[0].Reshapes[0].Count = -4 }, nil, ""},
		"begun, and another is there": {func(*Snapshot) {}, begun(noon.Add(-time.Second)), "rs"},
		"begun":                       {func(in *Snapshot) { in.Nodes[0].Reshapes = nil }, begun(noon.Add(-time.Second)), "rs9"},
		"begun, and no card is shown": {func(in *Snapshot) { in.Nodes[0].Reshapes, in.Nodes[0].Cards = nil, nil }, begun(noon.Add(-time.Second)), "rs9"},
		"begun almost a minute ago":   {func(in *Snapshot) { in.Nodes[0].Reshapes = nil }, begun(noon.Add(-time.Minute + 1)), "rs9"},
		"begun a minute ago":          {func(in *Snapshot) { in.Nodes[0].Reshapes = nil }, begun(noon.Add(-time.Minute)), ""},
		"begun in the future":         {func(in *Snapshot) { in.Nodes[0].Reshapes = nil }, begun(noon.Add(time.Second)), ""},
		"begun where no node is":      {func(in *Snapshot) { in.Nodes[0].Reshapes, in.Nodes[0].Name = nil, "m" }, begun(noon), ""},
	} {
		in := madeOne()
		test.change(&in)
		given := encode(in)
		d := begin(in, State{Reshapes: test.memory}, DefaultPolicy())
		ids := ""
		for _, r := range d.reshapes.list {
			if ids += r.ID; r.begun != (r.ID == "rs9") {
				t.Errorf("%s: begun is %v", name, r.begun)
			}
		}
		if ids != test.ids {
			t.Errorf("%s: %q count, want %q", name, ids, test.ids)
		}
		if encode(in) != given {
			t.Errorf("%s: the snapshot was changed", name)
		}
	}
	if d := begin(Snapshot{Now: noon, Nodes: []Node{{Name: "n"}}}, State{}, DefaultPolicy()); d.reshapes != nil {
		t.Error("there are changes where there are no cards")
	}
}

// Who is on what was made is a stranger if a pod or somebody else has it; what runs there
// without a pod has its time.
func TestWhoIsAStranger(t *testing.T) {
	for name, test := range map[string]struct {
		use   mig.Use
		owner string
		want  bool
	}{
		"nobody":       {mig.Idle, "", false},
		"a pod":        {mig.Busy, "x", true},
		"no pod":       {mig.Busy, "", false},
		"a loan":       {mig.Lent, "research/big-1", false},
		"somebody":     {mig.Foreign, "", true},
		"nobody knows": {mig.Unknown, "x", false},
	} {
		in := madeOne()
		in.Nodes[0].Cards[0].Instances[0].Use, in.Nodes[0].Cards[0].Instances[0].Owner = test.use, test.owner
		if r := begin(in, State{}, DefaultPolicy()).reshapes.list[0]; r.stranger != test.want {
			t.Errorf("%s: %v", name, r.stranger)
		}
	}
}

// A loan of what was made frees what it was made of, and the rest of it what it has besides.
func TestLoanOfMadeAndMore(t *testing.T) {
	for name, test := range map[string]struct {
		change            func(l *Loan, r *Reshape)
		rest, made, lends int64
		leaving           bool
	}{
		"only it":                {func(*Loan, *Reshape) {}, 0, 1, 4, false},
		"one more of its own":    {func(l *Loan, _ *Reshape) { l.Grants[0].Count = 2 }, 1, 1, 4, false},
		"less than was made":     {func(_ *Loan, r *Reshape) { r.Made = 2 }, 0, 1, 4, false},
		"it has ended by itself": {func(l *Loan, _ *Reshape) { l.Finished = true }, 0, 1, 0, true},
		"it is asked back too":   {func(l *Loan, _ *Reshape) { l.Finished, l.Reclaiming = true, true }, 0, 1, 4, false},
		"it is taken back too":   {func(l *Loan, _ *Reshape) { l.Finished, l.Preempted = true, true }, 0, 1, 4, false},
		"it is stuck":            {func(_ *Loan, r *Reshape) { r.Stuck = "x" }, 0, 1, 0, false},
		"of another lender":      {func(l *Loan, _ *Reshape) { l.Grants[0].Lender = "serving/other" }, 1, 0, 0, false},
		"on another node":        {func(l *Loan, _ *Reshape) { l.Grants[0].Node = "m" }, 1, 0, 0, false},
		"of another flavor":      {func(l *Loan, _ *Reshape) { l.Grants[0].Flavor = "a100-2g" }, 1, 0, 0, false},
		"of less than nothing":   {func(l *Loan, _ *Reshape) { l.Grants[0].Count = -1 }, 0, 0, 0, false},
	} {
		in := madeOne()
		test.change(&in.Loans[0], &in.Nodes[0].Reshapes[0])
		d := begin(in, State{}, DefaultPolicy())
		l, r := d.loans[0], d.reshapes.list[0]
		sum := func(grants []Grant) (n int64) {
			for _, g := range grants {
				n += g.Count
			}
			return n
		}
		if sum(l.Grants) != test.rest || sum(l.made) != test.made || sum(l.lends) != test.lends || r.leaving != test.leaving {
			t.Errorf("%s: grants %v, made %v, lends %v, leaving %v", name, l.Grants, l.made, l.lends, r.leaving)
		}
		if test.made > 0 && l.undo != 10*time.Second {
			t.Errorf("%s: its undoing takes %s", name, l.undo)
		}
	}
}

// What is shed is no longer held of the grant that it is part of, and of no other.
func TestShedding(t *testing.T) {
	l := &Loan{Shedding: []Grant{{"a", "n", "f", 2}, {"a", "n", "g", 4}, {"a", "m", "f", 8}, {"b", "n", "f", 16}, {"a", "n", "f", 1}, {"a", "n", "f", -7}}}
	if n := shedding(l, [3]string{"n", "a", "f"}); n != 3 {
		t.Errorf("%d", n)
	}
}
