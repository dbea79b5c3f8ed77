package lend

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// oneMade is a decision about a 4g that was made and that nobody has, whose lender lends.
func oneMade() (*decision, *reshape) {
	in := madeOne()
	in.Loans = nil
	in.Nodes[0].Cards[0].Instances[0].Use, in.Nodes[0].Cards[0].Instances[0].Owner = mig.Idle, ""
	d := begin(in, State{}, DefaultPolicy())
	d.lenders[0].open = true
	return d, d.reshapes.list[0]
}

// What was made is lent only if all is as it should be.
func TestReady(t *testing.T) {
	for name, test := range map[string]struct {
		change func(r *reshape, l *lender)
		want   bool
	}{
		"as it should be":             {func(*reshape, *lender) {}, true},
		"being made":                  {func(r *reshape, _ *lender) { r.State = ReshapeMaking }, false},
		"being undone":                {func(r *reshape, _ *lender) { r.State = ReshapeUndoing }, false},
		"to be undone":                {func(r *reshape, _ *lender) { r.back = new(ReshapeAction) }, false},
		"broken":                      {func(r *reshape, _ *lender) { r.broken = "x" }, false},
		"somebody has it":             {func(r *reshape, _ *lender) { r.holder = new(loan) }, false},
		"its lender is gone":          {func(r *reshape, _ *lender) { r.lender = nil }, false},
		"its lender is shut":          {func(_ *reshape, l *lender) { l.open = false }, false},
		"its lender is short":         {func(_ *reshape, l *lender) { l.short = true }, false},
		"its lender only advises":     {func(_ *reshape, l *lender) { l.Advise = true }, false},
		"its lender has other slices": {func(_ *reshape, l *lender) { l.Flavor = "a100-2g" }, false},
		"no slices":                   {func(_ *reshape, l *lender) { l.MIG = nil }, false},
		"in their shape only":         {func(_ *reshape, l *lender) { l.MIG.Reshape = false }, false},
		"a grace as long as undoing":  {func(_ *reshape, l *lender) { l.MaxGrace = l.MIG.Undo }, false},
		"a node that is cordoned":     {func(r *reshape, _ *lender) { r.node.Schedulable = false }, false},
		"where nothing new is lent":   {func(r *reshape, _ *lender) { r.node.Unlendable = "toolkit" }, false},
		"it is not seen":              {func(r *reshape, _ *lender) { r.card = nil }, false},
		"it is not idle":              {func(r *reshape, _ *lender) { r.card.Instances[0].Use = mig.Busy }, false},
		"other slices are not":        {func(r *reshape, _ *lender) { r.card.Instances[1].Use = mig.Unknown }, true},
	} {
		d, r := oneMade()
		test.change(r, d.lenders[0])
		if got := d.ready(r); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// It counts as what cannot be lent only if it is there and waits for more than its lender's
// patience.
func TestBarred(t *testing.T) {
	for name, test := range map[string]struct {
		change func(r *reshape, l *lender)
		want   bool
	}{
		"nothing new is lent there":  {func(*reshape, *lender) {}, true},
		"it could be lent":           {func(r *reshape, _ *lender) { r.node.Unlendable = "" }, false},
		"being made":                 {func(r *reshape, _ *lender) { r.State = ReshapeMaking }, false},
		"nobody has seen it":         {func(r *reshape, _ *lender) { r.begun = true }, false},
		"to be undone":               {func(r *reshape, _ *lender) { r.back = new(ReshapeAction) }, false},
		"broken":                     {func(r *reshape, _ *lender) { r.broken = "x" }, false},
		"somebody has it":            {func(r *reshape, _ *lender) { r.holder = new(loan) }, false},
		"its lender is gone":         {func(r *reshape, _ *lender) { r.lender = nil }, false},
		"its lender dwells":          {func(_ *reshape, l *lender) { l.gate = ReasonDwellNotMet }, false},
		"its lender cools down":      {func(_ *reshape, l *lender) { l.gate = ReasonCooldownActive }, false},
		"its broker has started":     {func(_ *reshape, l *lender) { l.gate = ReasonBrokerStarted }, false},
		"its lender's pods wait":     {func(_ *reshape, l *lender) { l.gate = ReasonLenderPodPending }, true},
		"its lender's load is known": {func(_ *reshape, l *lender) { l.gate = ReasonAboveLowWater }, true},
	} {
		d, r := oneMade()
		r.node.Unlendable = "toolkit"
		test.change(r, d.lenders[0])
		if got := d.barred(r); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// It is useless when it has been so for longer than making it may take, and is so still.
func TestUseless(t *testing.T) {
	d, r := oneMade()
	r.node.Unlendable = "toolkit"
	memory := func(since time.Time) {
		d.reshapes.memory[r.GPU] = ReshapeMemory{GPU: r.GPU, IdleSince: since}
	}
	if memory(time.Time{}); d.useless(r) {
		t.Error("useless since it is not known when")
	}
	if memory(d.now.Add(-r.late())); d.useless(r) {
		t.Error("useless already")
	}
	if memory(d.now.Add(-r.late() - 1)); !d.useless(r) {
		t.Error("not useless")
	}
	if r.node.Unlendable = ""; d.useless(r) {
		t.Error("useless although it can be lent")
	}
}

// What was made goes back whoever waits for it: if its lender lends no such any more, if pods
// wait that have no room, or if the lender lends nothing for longer than a while.
func TestDoomed(t *testing.T) {
	pending := func(d *decision, room int64) *lender {
		l := d.lenders[0]
		l.Pending = []PendingPod{{Name: "p"}}
		d.pools[l.Flavor].soon = bins{}
		d.pools[l.Flavor].soon.add(room, 1)
		return l
	}
	shut := func(d *decision, gate string) { d.lenders[0].open, d.lenders[0].gate = false, gate }
	for name, test := range map[string]struct {
		change  func(d *decision, r *reshape)
		awaited bool
		want    string
	}{
		"not":                           {func(*decision, *reshape) {}, false, ""},
		"in their shape only":           {func(d *decision, _ *reshape) { d.lenders[0].MIG.Reshape = false }, true, ReasonReshapeUnused},
		"advised only":                  {func(d *decision, _ *reshape) { d.lenders[0].Advise = true }, true, ReasonReshapeUnused},
		"of others":                     {func(d *decision, _ *reshape) { d.lenders[0].Flavor = "a100-2g" }, true, ReasonReshapeUnused},
		"nobody's":                      {func(_ *decision, r *reshape) { r.lender = nil }, true, ReasonReshapeUnused},
		"on no node that counts":        {func(d *decision, r *reshape) { delete(d.pools, r.From) }, true, ""},
		"a pod waits":                   {func(d *decision, _ *reshape) { pending(d, 0) }, true, ReasonLenderPodPending},
		"a pod waits, and has room":     {func(d *decision, _ *reshape) { pending(d, 1) }, true, ""},
		"a pod waits, of no known size": {func(d *decision, _ *reshape) { pending(d, 1).UnitsPerPod = 0 }, true, ""},
		"a pod of two waits":            {func(d *decision, _ *reshape) { pending(d, 1).UnitsPerPod = 2 }, true, ReasonLenderPodPending},
		"a pod waits, of an adviser": {func(d *decision, _ *reshape) {
			other := *pending(d, 0)
			other.Advise = true
			d.lenders[0].Pending = nil
			d.pools[other.Flavor].lenders = append(d.pools[other.Flavor].lenders, &other)
		}, true, ReasonLenderPodPending},
		"no pod waits, and no room is":   {func(d *decision, _ *reshape) { pending(d, 0).Pending = nil }, true, ""},
		"shut":                           {func(d *decision, _ *reshape) { shut(d, ReasonAboveHighWater) }, true, ReasonAboveHighWater},
		"shut without a reason":          {func(d *decision, _ *reshape) { shut(d, "") }, true, ReasonReshapeUnused},
		"shut for a while":               {func(d *decision, _ *reshape) { shut(d, ReasonLoadUnknown) }, false, ""},
		"between the marks":              {func(d *decision, _ *reshape) { shut(d, ReasonAboveLowWater) }, false, ReasonAboveLowWater},
		"between the marks, and awaited": {func(d *decision, _ *reshape) { shut(d, ReasonAboveLowWater) }, true, ""},
	} {
		d, r := oneMade()
		test.change(d, r)
		if reason, message := d.doomed(r, test.awaited); reason != test.want || (reason == "") != (message == "") {
			t.Errorf("%s: %q %q, want %q", name, reason, message, test.want)
		}
	}
}

// Slices that were made are lent within one tree of cohorts.
func TestSameTree(t *testing.T) {
	in := madeOne()
	in.Tenants = append(in.Tenants, Tenant{Name: "zoo", Cohort: "others", Quotas: in.Tenants[0].Quotas})
	d := begin(in, State{}, DefaultPolicy())
	for tenant, want := range map[string]bool{"research": true, "serving": true, "zoo": false} {
		id, _ := d.books.used.Tenant(tenant)
		if got := d.sameTree(&ask{tenant: id}, d.lenders[0]); got != want {
			t.Errorf("%s: %v", tenant, got)
		}
	}
	d.lenders[0].Tenant = "nobody"
	if id, _ := d.books.used.Tenant("zoo"); d.sameTree(&ask{tenant: id}, d.lenders[0]) {
		t.Error("a lender of no tenant is in a tree")
	}
}
