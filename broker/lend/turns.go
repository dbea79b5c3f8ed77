package lend

import (
	"cmp"
	"slices"
)

// Searches for what could be taken back are long, and where they find nothing they
// would find nothing in every decision. So the first claims are looked at in each, and
// the others by turns: who was put off first has the next.
const (
	// firstFair are those that may search for fairness, found or not.
	firstFair = 16
	// firstRight are those that may search for what they were promised, or outrank, and
	// find nothing. Those that find something take at least one loan each, so that there
	// are never more of them than loans.
	firstRight = 64
	// turnsEach is how many of those that were put off have their turn in one decision.
	turnsEach = 16
)

// turns is who may search in this decision, and who was put off.
type turns struct {
	// now are the UIDs of jobs that have their turn, each once.
	now map[string]bool
	// since is in which decision a job was put off that still waits for its turn.
	since map[string]int64
	// made counts the searches that the limits are on.
	made [byRight + 1]int
}

// rememberTurns gives their turn to those that have waited for it longest. Who does not
// use it is not put off any more. Decisions that were not made yet are not believed.
func (d *decision) rememberTurns(jobs []JobState) {
	d.turns = turns{now: map[string]bool{}, since: map[string]int64{}}
	for _, j := range jobs {
		if j.PutOff > 0 && j.PutOff < d.number {
			d.turns.since[j.UID] = j.PutOff
		}
	}
	if len(d.turns.since) == 0 {
		return
	}
	waiting := make([]string, 0, len(d.turns.since))
	for uid := range d.turns.since {
		if _, waits := d.crowd.find(uid); waits {
			d.turns.now[uid] = true
			waiting = append(waiting, uid)
		}
	}
	slices.SortFunc(waiting, func(x, y string) int {
		return cmp.Or(cmp.Compare(d.turns.since[x], d.turns.since[y]), cmp.Compare(x, y))
	})
	still := make(map[string]int64, len(waiting))
	for at, uid := range waiting {
		if at >= turnsEach {
			delete(d.turns.now, uid)
			still[uid] = d.turns.since[uid]
		}
	}
	d.turns.since = still
}

// turn reports whether the job may search on the grounds. If not, it is put off.
func (d *decision) turn(uid string, grounds chance) bool {
	t := &d.turns
	first := firstFair
	if grounds == byRight {
		first = firstRight
	}
	switch {
	case t.now[uid]:
		delete(t.now, uid)
	case t.made[grounds] < first:
		delete(t.since, uid)
		if grounds == byShare {
			t.made[byShare]++
		}
	default:
		if t.since[uid] == 0 {
			t.since[uid] = d.number
		}
		return false
	}
	return true
}

// foundNothing counts a search for what was promised.
func (d *decision) foundNothing(grounds chance) {
	if grounds == byRight {
		d.turns.made[byRight]++
	}
}
