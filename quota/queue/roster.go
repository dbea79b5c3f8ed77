package queue

import (
	"slices"
	"strings"
	"time"
)

// roster is the jobs of an Index, by slot. It keeps them almost without pointers: with
// many jobs, following those is what collecting garbage takes.
type roster struct {
	records []record
	refs    []int
	tags    []tag
	free    []int32
	// table finds slots by UID: 1 more than each, at the place that the UID hashes to or
	// behind, with no gap between; 0 is a gap. Its length is a power of two.
	table []int32
	held  int
}

// record is a job but for its Ref, name and UID.
type record struct {
	key
	created, queued instant
}

// tag tells jobs of one age apart.
type tag struct{ name, uid string }

// instant is a time without its place.
type instant struct {
	sec  int64
	nsec int32
}

func instantOf(t time.Time) instant { return instant{t.Unix(), int32(t.Nanosecond())} }

func (m instant) time() time.Time { return time.Unix(m.sec, int64(m.nsec)).UTC() }

func (m instant) after(other instant) bool {
	return m.sec > other.sec || m.sec == other.sec && m.nsec > other.nsec
}

func (r *roster) len() int { return r.held }

func (r *roster) grow(jobs int) {
	r.records, r.refs, r.tags = slices.Grow(r.records, jobs), slices.Grow(r.refs, jobs), slices.Grow(r.tags, jobs)
	r.widen(r.held + jobs)
}

// add takes in a job; false if there is one of its UID.
func (r *roster) add(j *Job) (slot int32, ok bool) {
	r.widen(r.held + 1)
	at := r.place(j.UID)
	if r.table[at] != 0 {
		return 0, false
	}
	rec := record{key: keyOf(j), created: instantOf(j.Created), queued: instantOf(j.Queued)}
	if n := len(r.free); n > 0 {
		slot, r.free = r.free[n-1], r.free[:n-1]
		r.records[slot], r.refs[slot], r.tags[slot] = rec, j.Ref, tag{j.Name, j.UID}
	} else {
		slot = int32(len(r.records))
		r.records, r.refs, r.tags = append(r.records, rec), append(r.refs, j.Ref), append(r.tags, tag{j.Name, j.UID})
	}
	r.table[at] = slot + 1
	r.held++
	return slot, true
}

// find returns the slot of the job of that UID.
func (r *roster) find(uid string) (slot int32, ok bool) {
	if r.held == 0 {
		return 0, false
	}
	slot = r.table[r.place(uid)] - 1
	return slot, slot >= 0
}

// remove takes out the job in the slot, and moves those into the gap that would not be
// found behind it.
func (r *roster) remove(slot int32) {
	gap, mask := r.place(r.tags[slot].uid), len(r.table)-1
	for at := (gap + 1) & mask; r.table[at] != 0; at = (at + 1) & mask {
		first := r.first(r.tags[r.table[at]-1].uid)
		if (at-first)&mask >= (at-gap)&mask {
			r.table[gap], gap = r.table[at], at
		}
	}
	r.table[gap] = 0
	r.records[slot], r.tags[slot] = record{}, tag{}
	r.free = append(r.free, slot)
	r.held--
}

// place is where in the table the job of that UID is, or else the gap where it belongs.
func (r *roster) place(uid string) int {
	at := r.first(uid)
	for r.table[at] != 0 && r.tags[r.table[at]-1].uid != uid {
		at = (at + 1) & (len(r.table) - 1)
	}
	return at
}

// first is where looking for the UID begins, by the FNV-1a hash of it.
func (r *roster) first(uid string) int {
	h := uint64(14695981039346656037)
	for i := range len(uid) {
		h = (h ^ uint64(uid[i])) * 1099511628211
	}
	return int((h ^ h>>32) & uint64(len(r.table)-1))
}

// widen makes a table that is never more than half full with so many jobs.
func (r *roster) widen(jobs int) {
	if 2*jobs <= len(r.table) {
		return
	}
	size := max(len(r.table), 16)
	for size < 2*jobs {
		size *= 2
	}
	old := r.table
	r.table = make([]int32, size)
	for _, slot := range old {
		if slot != 0 {
			r.table[r.place(r.tags[slot-1].uid)] = slot
		}
	}
}

// before is the order by age.
func (r *roster) before(a, b int32) bool {
	if p, q := r.records[a].created, r.records[b].created; p != q {
		return q.after(p)
	}
	k, l := &r.tags[a], &r.tags[b]
	if c := strings.Compare(k.name, l.name); c != 0 {
		return c < 0
	}
	return k.uid < l.uid
}

// job is the one in the slot as it was added.
func (r *roster) job(slot int32) Job {
	rec, t := &r.records[slot], &r.tags[slot]
	return Job{
		Ref: r.refs[slot], Queue: int(rec.queue), Flavor: rec.flavor, Pods: rec.pods, UnitsPerPod: rec.perPod, Priority: rec.priority,
		Created: rec.created.time(), Queued: rec.queued.time(), Name: t.name, UID: t.uid,
	}
}
