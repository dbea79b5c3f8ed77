package sliced

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/demo/stage"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

func TestBadConfigurationsNameTheFlag(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	for want, change := range map[string]func(*Config){
		"--nodes":      func(c *Config) { c.Nodes = 0 }, // what else is bad is package stage's
		"--min-trough": func(c *Config) { c.MinTrough = -1 },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to name %s", err, want)
		}
	}
}

// The keys of the last line are a promise to whoever reads it.
func TestTheLastLineIsTheResult(t *testing.T) {
	a := &account{Account: stage.Account{Config: Default().Config}, config: Default()}
	a.LedgerCheck = stage.LedgerOK
	var out bytes.Buffer
	a.Write(&out)
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	want := `{"nodes":0,"gpus":0,"simulatedHours":0,"oracleLendableGPUHours":0,"lentGPUHours":0,"lentShareOfOracle":0,` +
		`"jobsFinished":0,"loans":0,"reclaims":0,"evictedPods":0,"needlessEvictions":0,"onlineWaitSecondsP99":0,` +
		`"maxGraceSeconds":0,"lawViolations":0,"ledgerEntries":0,"ledgerCheck":"ok","pinnedTouched":0,"reshapes":0,"reshapeFailuresRecovered":0}`
	if diff := cmp.Diff(want, lines[len(lines)-1]); diff != "" {
		t.Errorf("last line (-want +got):\n%s", diff)
	}
}

// Each target that is missed is an error by itself.
func TestMissedTargets(t *testing.T) {
	good := func() *account {
		a := &account{config: Default()}
		a.LedgerCheck, a.MaxGraceSeconds, a.LentShareOfOracle, a.Decisions.Decisions = stage.LedgerOK, 5, leastShare, 1
		a.tally = Tally{Begun: 3, Made: 3, Undone: 3, Recovered: 2, Killed: 1, InUse: 1}
		return a
	}
	if errs := good().Missed(); len(errs) > 0 {
		t.Errorf("all is well: %v", errs)
	}
	for name, change := range map[string]func(*account){
		"pinnedTouched":          func(a *account) { a.touched = []string{"g"} },
		"no card was reshaped":   func(a *account) { a.tally.Made = 0 },
		"onlineWaitSecondsP99":   func(a *account) { a.OnlineWaitSecondsP99 = 8.01 },
		"lentShareOfOracle":      func(a *account) { a.LentShareOfOracle = 0.499 },
		"was undone":             func(a *account) { a.tally.Undone = 0 },
		"the death of its agent": func(a *account) { a.tally.Killed = 0 },
		"a slice in use":         func(a *account) { a.tally.InUse = 0 },
		"reshapes hang":          func(a *account) { a.tally.Hanging = 1 },
		"not as they should be":  func(a *account) { a.misshapen = []string{"g"} },
		"lost pinned slices":     func(a *account) { a.unpinned = []string{"g"} },
		"are stuck":              func(a *account) { a.tally.Stuck = 1 },
		"a slice that was gone":  func(a *account) { a.failedStarts = 1 },
	} {
		a := good()
		change(a)
		if errs := a.Missed(); len(errs) != 1 || !strings.Contains(errs[0].Error(), name) {
			t.Errorf("%s: %v, want one error that names it", name, errs)
		}
	}
}

func second(n int) time.Time { return time.Unix(int64(n), 0) }

// node is a GPUNode with a card and its pins at these slots, and a reshape in a state.
func node(state string, recovered int32, starts ...int32) *v1alpha1.GPUNode {
	n := &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	n.Status.GPUs = []v1alpha1.GPUStatus{{UUID: "g"}}
	pins := v1alpha1.PinnedSlices{GPU: "g"}
	for _, s := range starts {
		pins.Places = append(pins.Places, v1alpha1.MIGPlacement{Start: s})
	}
	if len(starts) > 0 {
		n.Spec.Pinned = []v1alpha1.PinnedSlices{pins}
	}
	if state != "" {
		n.Spec.Reshapes = []v1alpha1.Reshape{{ID: "r", GPU: "g", Destroy: []v1alpha1.MIGPlacement{{Start: 0}}, Create: []v1alpha1.MIGPlacement{{Profile: 3}}}}
		n.Status.Reshapes = []v1alpha1.ReshapeStatus{{ID: "r", State: state, Recovered: recovered}}
	}
	return n
}

// What is written to a place counts while it is pinned, by whomever and however large, and
// not before and after.
func TestTouched(t *testing.T) {
	w := newWitness()
	w.observe(second(10), node("", 0, 4, 5, 6))
	w.observe(second(20), node("", 0, 5, 6))
	g, _ := mig.Board(board)
	for _, test := range []struct {
		name string
		at   int
		by   string
		mig.Placed
		want int
	}{
		{"before it is pinned", 5, "agent", mig.Placed{Start: 4}, 0},
		{"while it is", 15, "agent", mig.Placed{Start: 4}, 1},
		{"by somebody else", 15, "foreign", mig.Placed{Start: 6}, 1},
		{"by a larger one that covers it", 15, "agent", mig.Placed{Profile: 2, Start: 4}, 1},
		{"beside it", 15, "agent", mig.Placed{Profile: 3}, 0},
		{"when it was installed", 15, "install", mig.Placed{Start: 4}, 0},
		{"when it is pinned no more", 25, "agent", mig.Placed{Start: 4}, 0},
		{"while another is", 25, "agent", mig.Placed{Start: 5}, 1},
	} {
		got := w.touched(&g, []simgpu.Write{{Time: second(test.at), By: test.by, GPU: "g", Op: simgpu.OpDestroyGI, Placed: test.Placed}})
		if len(got) != test.want {
			t.Errorf("%s: %v, want %d", test.name, got, test.want)
		}
	}
}

func TestTally(t *testing.T) {
	refused := []simgpu.Write{{Time: second(2), By: "agent", GPU: "g", Op: simgpu.OpDestroyGI, Error: "in use"}}
	r := map[string]bool{"r": true}
	for _, test := range []struct {
		name          string
		states        []string
		again         int32
		writes        []simgpu.Write
		killed, inUse map[string]bool
		want          Tally
	}{
		{"made", []string{"Making", "Made"}, 0, nil, nil, nil, Tally{Begun: 1, Made: 1}},
		{"made and undone", []string{"Making", "Made", "Undoing", "Undone"}, 0, nil, nil, nil, Tally{Begun: 1, Made: 1, Undone: 1}},
		{"begun", []string{"Making"}, 1, nil, r, nil, Tally{Begun: 1, Hanging: 1}},
		{"refused", []string{"Making", "Refused"}, 0, refused, nil, r, Tally{Begun: 1, Refused: 1}},
		{"found half done, and made", []string{"Making", "Made"}, 1, nil, nil, nil, Tally{Begun: 1, Made: 1, Recovered: 1}},
		{"killed, found half done, and made", []string{"Making", "Made"}, 1, nil, r, nil, Tally{Begun: 1, Made: 1, Recovered: 1, Killed: 1}},
		{"killed, found half done, and undone", []string{"Making", "Made", "Undone"}, 1, nil, r, nil, Tally{Begun: 1, Made: 1, Undone: 1, Recovered: 1, Killed: 1}},
		{"killed, made, and not to be undone", []string{"Making", "Made", "Undoing"}, 1, nil, r, nil, Tally{Begun: 1, Made: 1, Hanging: 1}},
		{"killed when it was made", []string{"Making", "Made"}, 0, nil, r, nil, Tally{Begun: 1, Made: 1}},
		{"in use for a while", []string{"Making", "Made"}, 0, refused, nil, r, Tally{Begun: 1, Made: 1, Recovered: 1, InUse: 1}},
		{"said to be in use, and nobody asked", []string{"Making", "Made"}, 0, nil, nil, r, Tally{Begun: 1, Made: 1}},
		{"stuck", []string{"Making", "Made", "Stuck"}, 1, refused, r, r, Tally{Begun: 1, Made: 1, Stuck: 1}},
	} {
		w := newWitness()
		for i, state := range test.states {
			w.observe(second(1+2*i), node(state, test.again))
		}
		if diff := cmp.Diff(test.want, w.tally(test.writes, test.killed, test.inUse)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// A card has the layout that it had, or that of its reshape, and whole.
func TestMisshapen(t *testing.T) {
	card := func(places ...mig.Placed) []device.GPU {
		g := device.GPU{UUID: "g"}
		for _, p := range places {
			g.Instances = append(g.Instances, device.Instance{Placed: p, Whole: true})
		}
		return []device.GPU{g}
	}
	whole := card(installed...)
	made := card(append(lab.Places(3, 0), installed[4:]...)...)
	broken := card(installed...)
	broken[0].Instances[2].Whole = false
	for _, test := range []struct {
		name, state string
		gpus        []device.GPU
		want        int
	}{
		{"as it was", "", whole, 0},
		{"undone", "Undone", whole, 0},
		{"refused", "Refused", whole, 0},
		{"in force", "Made", made, 0},
		{"undone, and not on the card", "Undone", made, 1},
		{"in force, and not on the card", "Made", whole, 1},
		{"hangs", "Undoing", whole, 1},
		{"stuck", "Stuck", whole, 1},
		{"one is gone", "", card(installed[1:]...), 1},
		{"without a compute instance", "", broken, 1},
	} {
		w := newWitness()
		n := node(test.state, 0)
		if test.state != "" {
			n.Spec.Reshapes[0].Destroy = []v1alpha1.MIGPlacement{{Start: 0}, {Start: 1}, {Start: 2}, {Start: 3}}
		}
		w.observe(second(1), n)
		if got := w.misshapen(test.gpus); len(got) != test.want {
			t.Errorf("%s: %v, want %d", test.name, got, test.want)
		}
	}
}

// Pins that are dropped are seen, also when the card is not listed any more; pins that are
// not complete yet are no loss.
func TestUnpinned(t *testing.T) {
	gone := node("", 0)
	gone.Status.GPUs = nil
	for _, test := range []struct {
		name string
		seen []*v1alpha1.GPUNode
		want int
	}{
		{"pinned one by one", []*v1alpha1.GPUNode{node("", 0), node("", 0, 4), node("", 0, 4, 5, 6)}, 0},
		{"moved", []*v1alpha1.GPUNode{node("", 0, 4, 5, 6), node("", 0, 0, 1, 2)}, 0},
		{"one less", []*v1alpha1.GPUNode{node("", 0, 4, 5, 6), node("", 0, 5, 6), node("", 0, 4, 5, 6)}, 1},
		{"none", []*v1alpha1.GPUNode{node("", 0, 4, 5, 6), node("", 0)}, 1},
		{"none, nor a card", []*v1alpha1.GPUNode{node("", 0, 4, 5, 6), gone}, 1},
	} {
		w := newWitness()
		for i, n := range test.seen {
			w.observe(second(i), n)
		}
		if got := w.unpinned(3); len(got) != test.want {
			t.Errorf("%s: %v, want %d", test.name, got, test.want)
		}
	}
}

// When all cards are as they should be, the witness has seen enough: what is begun then is
// no reshape that hangs. Before, it is.
func TestWitnessCloses(t *testing.T) {
	whole := []device.GPU{{UUID: "g"}}
	for _, p := range installed {
		whole[0].Instances = append(whole[0].Instances, device.Instance{Placed: p, Whole: true})
	}
	for _, test := range []struct {
		gpus []device.GPU
		want Tally
	}{
		{whole, Tally{}},
		{[]device.GPU{{UUID: "g"}}, Tally{Begun: 1, Hanging: 1}},
	} {
		w := newWitness()
		w.observe(second(1), node("", 0, 4, 5, 6))
		found := w.misshapen(test.gpus)
		w.observe(second(2), node("Making", 0, 4, 5, 6))
		if diff := cmp.Diff(test.want, w.tally(nil, nil, nil)); diff != "" {
			t.Errorf("with %v (-want +got):\n%s", found, diff)
		}
	}
}

// Each kind of trouble comes as soon as it can, once; then with every third reshape, in turn.
func TestTroubleComesInTurn(t *testing.T) {
	tr := newTrouble(nil, nil)
	var got []mishap
	for i := range 11 {
		id := fmt.Sprint(i)
		tr.seen[id] = true
		now := tr.turn()
		got = append(got, now)
		tr.killed[id] = now == agentDies && i > 0 // the first agent is too quick
		tr.inUse[id] = now == sliceInUse
		maps.DeleteFunc(tr.killed, func(_ string, was bool) bool { return !was })
		maps.DeleteFunc(tr.inUse, func(_ string, was bool) bool { return !was })
	}
	want := []mishap{agentDies, agentDies, sliceInUse, agentDies, "", "", sliceInUse, "", "", agentDies, ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("trouble (-want +got):\n%s", diff)
	}
}

// An agent is killed when it has written something for the reshape in question: what is
// written for another, at another time, or in vain does not count.
func TestWrote(t *testing.T) {
	w := newWitness()
	w.observe(second(10), node("Making", 0))
	r := w.get("r")
	for _, test := range []struct {
		name string
		simgpu.Write
		want bool
	}{
		{"destroyed", simgpu.Write{Time: second(11), GPU: "g"}, true},
		{"created", simgpu.Write{Time: second(11), GPU: "g", Placed: mig.Placed{Profile: 3}}, true},
		{"before it", simgpu.Write{Time: second(9), GPU: "g"}, false},
		{"another card", simgpu.Write{Time: second(11), GPU: "h"}, false},
		{"another place", simgpu.Write{Time: second(11), GPU: "g", Placed: mig.Placed{Start: 1}}, false},
		{"refused", simgpu.Write{Time: second(11), GPU: "g", Error: "in use"}, false},
	} {
		if got := r.wrote([]simgpu.Write{test.Write}); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}
