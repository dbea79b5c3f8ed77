package queue

import "slices"

// pile is a sorted list to which much can be added at once: what is new waits at the
// end, and is sorted in when the list is next read.
type pile struct {
	ids    []int32
	sorted int
}

func (p *pile) add(id int32) { p.ids = append(p.ids, id) }

// tidy sorts; no two elements may compare as equal.
func (p *pile) tidy(order func(a, b int32) int) {
	fresh := p.ids[p.sorted:]
	slices.SortFunc(fresh, order)
	if p.sorted > 0 && len(fresh) > 0 && order(p.ids[p.sorted-1], fresh[0]) > 0 {
		p.merge(slices.Clone(fresh), order)
	}
	p.sorted = len(p.ids)
}

// merge puts what is new in its places, from the end: few moves of much.
func (p *pile) merge(fresh []int32, order func(a, b int32) int) {
	end := p.sorted
	for j := len(fresh) - 1; j >= 0; j-- {
		at, _ := slices.BinarySearchFunc(p.ids[:end], fresh[j], order)
		copy(p.ids[at+j+1:], p.ids[at:end])
		p.ids[at+j] = fresh[j]
		end = at
	}
}

// remove needs a list that is in order.
func (p *pile) remove(id int32, order func(a, b int32) int) {
	if at, ok := slices.BinarySearchFunc(p.ids, id, order); ok {
		p.ids = slices.Delete(p.ids, at, at+1)
		p.sorted = len(p.ids)
	}
}
