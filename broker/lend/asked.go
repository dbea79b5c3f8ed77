package lend

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// requests is for which waiting jobs units were asked back.
type requests struct {
	// at is when, by the job's UID.
	at map[string]time.Time
	// pending are the jobs of which something asked back is not returned yet, first those
	// that are served before others: pending now, or when the last decision was made.
	pending, first map[string]bool
	// made counts the requests of this decision, to name them.
	made int
	// kept is what is kept for them, in the order in which they asked. The job that is
	// served now heeds as many of them as serving says.
	kept    []promise
	serving int
	// awaited: something comes back for one of them; else none is delayed.
	awaited bool
	stages  stages
}

// rememberAsked reads when units were asked back for which job. After a restart the
// loans still tell. Times after now are not believed.
func (d *decision) rememberAsked(jobs []JobState) {
	d.requests = requests{at: map[string]time.Time{}, pending: map[string]bool{}, first: map[string]bool{}}
	for _, j := range jobs {
		if !j.Asked.IsZero() && !j.Asked.After(d.now) {
			d.requests.at[j.UID] = j.Asked
			d.requests.first[j.UID] = j.Expecting
		}
	}
	for _, l := range d.loans {
		if uid := l.ReclaimedFor; uid != "" && l.Reclaiming {
			d.requests.pending[uid], d.requests.first[uid] = true, true
			if d.requests.at[uid].IsZero() {
				d.requests.at[uid] = d.now
			}
		}
	}
}

// mayAsk: a job asks once, and once more only if all came back long ago and it still
// does not fit, as when a node broke meanwhile.
func (d *decision) mayAsk(uid string) bool {
	at := d.requests.at[uid]
	return !d.requests.pending[uid] && (at.IsZero() || d.now.Sub(at) >= max(d.pol.MinimumLoan, 0))
}

// stillAsked is what of it is to be remembered: waiting jobs that were not admitted.
func (d *decision) stillAsked() map[string]time.Time {
	out := make(map[string]time.Time)
	for uid, at := range d.requests.at {
		if _, waits := d.crowd.find(uid); waits && !at.IsZero() {
			out[uid] = at
		}
	}
	for _, a := range d.lends {
		delete(out, a.JobUID)
	}
	return out
}

// serveAsked tries the jobs for which units were asked back, those that asked first
// before others, and keeps for each what it still waits for.
func (a *admission) serveAsked() {
	for n := range a.keepAsked() {
		a.servePromised(n)
	}
	a.requests.serving = len(a.requests.kept)
}

// keepAsked promises them what they need, and says how many they are.
func (a *admission) keepAsked() int {
	var waiting []*ask
	for uid, first := range a.requests.first {
		if slot, ok := a.line.find(uid); ok && first && a.line.considers(slot) {
			waiting = append(waiting, a.line.ask(int(slot)))
		}
	}
	slices.SortFunc(waiting, func(j, k *ask) int {
		return cmp.Or(a.requests.at[j.UID].Compare(a.requests.at[k.UID]), cmp.Compare(j.UID, k.UID))
	})
	if len(waiting) == 0 {
		return 0
	}
	coming := a.coming()
	for _, k := range waiting {
		a.keep(k, coming[k.UID])
	}
	return len(waiting)
}

// servePromised tries the job with the n-th promise.
func (a *admission) servePromised(n int) {
	k, promises := a.requests.kept[n].ask, len(a.requests.kept)
	a.requests.serving = n
	a.letGo(n)
	v, reason, message := a.consider(k)
	if v == alike && !a.requests.pending[k.UID] && !a.comesFree(k) {
		v, reason, message = a.considerAlone(k, n)
	}
	switch {
	case v == admitted:
		a.line.want[k.slot] = served
	case !a.requests.pending[k.UID] && len(a.requests.kept) > promises:
		// What it needs comes free, and nothing is asked back for it: it waits like others,
		// and is promised it when it is its turn.
		a.letGo(promises)
		return
	case !a.requests.pending[k.UID] && !a.comesFree(k):
		return // all came back and it does not fit: it waits like others
	default:
		// What came back may have gone where room that is still to come is as good.
		a.requests.pending[k.UID] = true
		if len(a.requests.kept) == promises { // else it asked again
			a.keepAgain(n)
		}
		if isForNow(v, reason) {
			reason, message = waitsForReturn(k)
		}
		a.line.want[k.slot] = waits
		a.line.behind[k.queue] = a.line.behind[k.queue] || !a.line.queues[k.queue].Backfill
	}
	a.line.tell(k.slot, outcome{reason, message})
}

// considerAlone tries the job with the n-th promise, to which all has come back. Who
// asked later must not be in its way.
func (a *admission) considerAlone(k *ask, n int) (v verdict, reason, message string) {
	var later []int
	for i := n + 1; i < len(a.requests.kept); i++ {
		if a.requests.kept[i].held {
			later = append(later, i)
			a.letGo(i)
		}
	}
	v, reason, message = a.consider(k)
	for _, i := range later {
		a.keepAgain(i)
	}
	return v, reason, message
}

// isForNow: what the job was refused for may be over once all has come back, as when its
// tenant's own quota is still in use and it can have no other.
func isForNow(v verdict, reason string) bool { return v == alike || reason == ReasonEvictionBudget }

func waitsForReturn(j *ask) (reason, message string) {
	return ReasonWaitingForReturn, fmt.Sprintf("%s; units were asked back for it and are not all free yet", j.wish())
}
