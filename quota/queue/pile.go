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

// merge fills the list from the end.
func (p *pile) merge(fresh []int32, order func(a, b int32) int) {
	i, j := p.sorted-1, len(fresh)-1
	for at := len(p.ids) - 1; j >= 0; at-- {
		if i >= 0 && order(p.ids[i], fresh[j]) > 0 {
			p.ids[at] = p.ids[i]
			i--
		} else {
			p.ids[at] = fresh[j]
			j--
		}
	}
}

// remove needs a list that is in order.
func (p *pile) remove(id int32, order func(a, b int32) int) {
	if at, ok := slices.BinarySearchFunc(p.ids, id, order); ok {
		p.ids = slices.Delete(p.ids, at, at+1)
		p.sorted = len(p.ids)
	}
}
