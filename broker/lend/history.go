package lend

import (
	"maps"
	"slices"
	"time"
)

// history is when each job's loans were taken back, within the longer of the windows of
// the budget and of cycles.
type history map[string][]time.Time

// remember keeps the evictions after since. Times after now are not believed.
func remember(jobs []JobState, since, now time.Time) history {
	h := history{}
	old := func(t time.Time) bool { return !t.After(since) || t.After(now) }
	for _, j := range jobs {
		times := slices.Clip(j.Evictions) // mostly they are as they were
		if h[j.UID] != nil || !slices.IsSortedFunc(times, time.Time.Compare) || slices.ContainsFunc(times, old) {
			times = slices.DeleteFunc(slices.Concat(h[j.UID], times), old)
			slices.SortFunc(times, time.Time.Compare)
		}
		if len(times) > 0 {
			h[j.UID] = times
		}
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
func (h history) spent(uid string, now time.Time, pol Policy) (until time.Time, spent bool) {
	times := h[uid]
	if pol.EvictionBudget <= 0 || len(times) < pol.EvictionBudget {
		return time.Time{}, false
	}
	until = times[len(times)-pol.EvictionBudget].Add(pol.EvictionWindow)
	return until, until.After(now)
}

// lately is how often the job was stopped within a window that ends now.
func (h history) lately(uid string, now time.Time, window time.Duration) int {
	n := 0
	for _, t := range h[uid] {
		if now.Sub(t) < window {
			n++
		}
	}
	return n
}

// cycles reports whether the job goes round: admitted and taken back again and again.
func (h history) cycles(uid string, now time.Time, pol Policy) bool {
	return pol.CycleLimit > 0 && h.lately(uid, now, pol.CycleWindow) >= pol.CycleLimit
}

// cycling lists the jobs that go round, by UID.
func (d *decision) cycling() []Cycle {
	var out []Cycle
	for _, uid := range slices.Sorted(maps.Keys(d.history)) {
		if d.history.cycles(uid, d.now, d.pol) {
			out = append(out, Cycle{UID: uid, Evictions: d.history.lately(uid, d.now, d.pol.CycleWindow)})
		}
	}
	return out
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
	uids := make([]string, 0, len(h)+len(stalls)+len(asked)+len(putOff))
	for uid := range h {
		if len(h[uid]) > 0 {
			uids = append(uids, uid)
		}
	}
	uids = slices.AppendSeq(slices.AppendSeq(slices.AppendSeq(uids, maps.Keys(stalls)), maps.Keys(asked)), maps.Keys(putOff))
	slices.Sort(uids)
	uids = slices.Compact(uids)
	out := make([]JobState, 0, len(uids))
	for _, uid := range uids {
		out = append(out, JobState{
			UID: uid, Evictions: h[uid], NotStarted: stalls[uid], Asked: asked[uid],
			Expecting: expecting[uid] && !asked[uid].IsZero(), PutOff: putOff[uid],
		})
	}
	return out
}
