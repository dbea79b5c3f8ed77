package lend

import (
	"maps"
	"slices"
	"time"
)

// history is when each job's loans were taken back, within the budget's window.
type history map[string][]time.Time

// remember keeps the evictions after since. Times after now are not believed.
func remember(jobs []JobState, since, now time.Time) history {
	h := history{}
	for _, j := range jobs {
		for _, t := range j.Evictions {
			if t.After(since) && !t.After(now) {
				h[j.UID] = append(h[j.UID], t)
			}
		}
		slices.SortFunc(h[j.UID], time.Time.Compare)
	}
	return h
}

// add counts an eviction of the loan that the job has had since then, once: a job
// has one loan at a time, so an eviction after its start is this same one.
func (h history) add(uid string, since, now time.Time) {
	times := h[uid]
	if len(times) > 0 && !times[len(times)-1].Before(since) {
		return
	}
	h[uid] = append(times, now)
}

// spent reports whether the job's budget is used up, and when that ends.
func (h history) spent(uid string, pol Policy) (until time.Time, spent bool) {
	times := h[uid]
	if pol.EvictionBudget <= 0 || len(times) < pol.EvictionBudget {
		return time.Time{}, false
	}
	return times[len(times)-pol.EvictionBudget].Add(pol.EvictionWindow), true
}

// rememberStalls keeps the times that still keep a job waiting. Times after now are
// not believed.
func rememberStalls(jobs []JobState, within time.Duration, now time.Time) map[string]time.Time {
	stalls := map[string]time.Time{}
	for _, j := range jobs {
		if at := j.NotStarted; !at.IsZero() && !at.After(now) && now.Sub(at) < within {
			stalls[j.UID] = at
		}
	}
	return stalls
}

// states is what the next decision has to know.
func (h history) states(stalls, asked map[string]time.Time, expecting map[string]bool, putOff map[string]int64) []JobState {
	uids := map[string]bool{}
	for uid := range h {
		uids[uid] = len(h[uid]) > 0
	}
	for uid := range stalls {
		uids[uid] = true
	}
	for uid := range asked {
		uids[uid] = true
	}
	for uid := range putOff {
		uids[uid] = true
	}
	out := make([]JobState, 0, len(uids))
	for _, uid := range slices.Sorted(maps.Keys(uids)) {
		if uids[uid] {
			out = append(out, JobState{
				UID: uid, Evictions: h[uid], NotStarted: stalls[uid], Asked: asked[uid],
				Expecting: expecting[uid] && !asked[uid].IsZero(), PutOff: putOff[uid],
			})
		}
	}
	return out
}
