package lend

import (
	"slices"
)

// Classes are served one after the other, so that what is urgent is sure of its room
// whatever else is wanted. What the victims of several classes free together, others may
// free at a lower price.

// combine chooses once more for all classes together, where several had victims, and
// keeps what loses less. Nobody is asked who could not have been asked for the last of
// them, but for who was chosen already.
func (r *round) combine() {
	first, last := r.span()
	if first == last {
		return
	}
	var old Choice
	why := &cause{class: first}
	candidates := r.candidates(last)
	undo := make([]*loan, len(r.victims))
	copy(undo, r.victims)
	for _, l := range undo {
		c := r.causes[l]
		if c.class == first {
			why.asking = union(why.asking, c.asking)
		}
		why.hurried = union(why.hurried, c.hurried)
		if l.part {
			old.Shed += l.cost
			continue
		}
		old.Stopped += r.d.price(l) + r.spares(last, l)
		candidates = append(candidates, l)
	}
	for _, l := range undo {
		if l.part {
			candidates = append(candidates, l.whole)
		}
		r.spare(l)
	}
	candidates = byName(candidates)
	if anew, ok := r.pick(last, candidates); ok && anew.cheaper(&old) {
		for _, l := range undo {
			delete(r.causes, l)
		}
		r.victims = nil
		r.take(anew, candidates, why)
		return
	}
	r.victims = nil
	for _, l := range undo {
		was := r.causes[l]
		delete(r.causes, l)
		v := Victim{}
		if l.part {
			v.Shed, l = l.Grants, l.whole
		}
		r.take(Choice{Victims: []Victim{v}}, []*loan{l}, was)
	}
}

// span is the most and the least urgent class that has victims.
func (r *round) span() (first, last class) {
	first = classes
	for _, l := range r.victims {
		first, last = min(first, r.causes[l].class), max(last, r.causes[l].class)
	}
	return min(first, last), last
}

// spare counts a victim as one that goes on.
func (r *round) spare(l *loan) {
	r.d.keepOn(l)
	l.victim = false
	r.d.restore(l)
}

func union(a, b []*lender) []*lender {
	out := slices.Clone(a)
	for _, l := range b {
		if !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out
}

// byName sorts loans, each once.
func byName(loans []*loan) []*loan {
	slices.SortStableFunc(loans, compareLoans)
	return slices.Compact(loans)
}
