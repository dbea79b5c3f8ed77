package rounds

import (
	"math/rand/v2"
	"slices"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// tide is what the load does in a round.
type tide string

const (
	// ebb: the load falls, and units are lent.
	ebb tide = "ebb"
	// flood: the load rises, and the broker asks units back.
	flood tide = "flood"
	// surge: pods of the service come, and the scheduler takes units back for them.
	surge tide = "surge"
)

// how something is broken.
type how string

const (
	kill  how = "kill"  // SIGKILL, at a point or at any moment
	halt  how = "stop"  // SIGSTOP for longer than the Lease, then SIGCONT
	wipe  how = "wipe"  // SIGKILL, and the ledger's file is destroyed
	lose  how = "lose"  // a node falls silent, and returns
	stick how = "stick" // a pod does not go
)

// fault is what is broken in a round.
type fault struct {
	how  how
	tide tide
	// part is whose process it is about.
	part string
	// point is where the process stands when it is killed; empty: anywhere.
	point string
	// alone: the broker is killed before the load moves, so that the scheduler takes units
	// back by itself, and started again.
	alone bool
	// starts are the points of the starts that follow, at which it is killed again.
	starts []string
}

// String names the fault.
func (f *fault) String() string {
	text := string(f.tide)
	if f.alone {
		text += " without a broker"
	}
	text += ", " + string(f.how)
	if f.part != "" {
		text += " " + f.part
	}
	if f.point != "" {
		text += " at " + f.point
	}
	for _, at := range f.starts {
		text += ", then at " + at
	}
	return text
}

// startPoints are the steps of a start that every one with loans comes to.
var startPoints = []string{"epochBegun", "loanAdopted"}

// ebbing and flooding are all faults, by what the load does.
var (
	ebbing = slices.Concat(
		at(ebb, lab.Broker, "lendIntended", "lendWithdrawn", "lendCreated", "lendActive", "lendResumed", "lendGranted", "lenderWritten"),
		at(ebb, lab.Scheduler, "podReserved", "podPermitted", "podPreBinding", "podBound"),
		[]fault{
			{how: kill, tide: ebb, part: lab.Broker}, {how: kill, tide: ebb, part: lab.Scheduler}, {how: kill, tide: ebb, part: lab.KubeAPIServer},
			{how: halt, tide: ebb, part: lab.Broker}, {how: halt, tide: ebb, part: lab.Etcd}, {how: halt, tide: ebb, part: lab.Scheduler},
			{how: wipe, tide: ebb, part: lab.Broker, point: "lendGranted", starts: []string{"gapWritten", "loanRecovered"}},
		},
	)
	flooding = slices.Concat(
		at(flood, lab.Broker, "reclaimIntended", "reclaimWritten", "reclaimTold", "reclaimSuspended", "returnWritten", "returnClosed", "loanUnheld", "loanDeleted"),
		at(flood, lab.Broker, "podKilled"),
		alone(at(surge, lab.Broker, "requeueWritten", "requeueSuspended")),
		alone(at(surge, lab.Scheduler, "podsMarked", "jobSuspended", "podDeleted")),
		[]fault{
			{how: kill, tide: flood, part: lab.Broker}, {how: kill, tide: surge, part: lab.Scheduler}, {how: kill, tide: flood, part: lab.Etcd},
			{how: halt, tide: flood, part: lab.Broker}, {how: halt, tide: surge, part: lab.Scheduler}, {how: halt, tide: flood, part: lab.KubeAPIServer},
			{how: wipe, tide: flood, part: lab.Broker, point: "reclaimWritten", starts: []string{"epochBegun", "loanRecovered"}},
			{how: lose, tide: surge}, {how: stick, tide: surge},
		},
	)
)

func at(t tide, part string, points ...string) (faults []fault) {
	for _, point := range points {
		faults = append(faults, fault{how: kill, tide: t, part: part, point: point})
	}
	return faults
}

func alone(faults []fault) []fault {
	for i := range faults {
		faults[i].alone = true
	}
	return faults
}

// draw is the fault of a round, counted from 0. Ebb and flood follow each other; each fault
// comes once before any comes again.
func draw(seed uint64, round int) fault {
	all := ebbing
	if round%2 == 1 {
		all = flooding
	}
	turn := round / 2
	deck := slices.Clone(all)
	shuffle := rand.New(rand.NewPCG(seed, uint64(turn/len(all))<<1|uint64(round%2)))
	shuffle.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	f := deck[turn%len(deck)]
	if f.how != kill || f.part != lab.Broker {
		return f
	}
	random := randomOf(seed, round)
	f.starts = nil
	if f.point == "lendIntended" { // of which the Loan was never made
		f.starts = append(f.starts, "missingClosed")
	}
	for range max(0, random.IntN(6)-2) - len(f.starts) {
		f.starts = append(f.starts, startPoints[random.IntN(len(startPoints))])
	}
	return f
}

// randomOf is all chance in a round but which fault it has.
func randomOf(seed uint64, round int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, 1<<32+uint64(round)))
}

// Ebbing and Flooding are how many faults there are in which the load falls, and rises: in
// twice as many rounds as the greater of them each comes at least once.
var Ebbing, Flooding = len(ebbing), len(flooding)

// Kills is how many processes are killed for sure in so many rounds. Starts that are killed as
// well come on top.
func Kills(seed uint64, rounds int) (n int) {
	for round := range rounds {
		f := draw(seed, round)
		if f.how == kill || f.how == wipe {
			n++
		}
		if f.alone {
			n++
		}
	}
	return n
}

// Destroyed is the first round, counted from 1, in which a ledger is destroyed.
func Destroyed(seed uint64) int {
	for round := 0; ; round++ {
		if f := draw(seed, round); f.how == wipe {
			return round + 1
		}
	}
}
