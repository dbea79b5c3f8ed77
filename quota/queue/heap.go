package queue

// heap is a binary heap, the first of all at the top, in the order that each call is
// given. Whoever must know where the members are is told by moved, which may be nil.
type heap[T any] struct {
	items []T
}

type (
	order[T any] func(a, b *T) bool
	moved[T any] func(item T, at int)
)

func (m moved[T]) tell(item T, at int) {
	if m != nil {
		m(item, at)
	}
}

func (h *heap[T]) push(item T, before order[T], to moved[T]) {
	h.items = append(h.items, item)
	to.tell(item, len(h.items)-1)
	h.up(len(h.items)-1, before, to)
}

// arrange makes a heap of items in any order.
func (h *heap[T]) arrange(before order[T], to moved[T]) {
	for i := range h.items {
		to.tell(h.items[i], i)
	}
	for i := len(h.items)/2 - 1; i >= 0; i-- {
		h.down(i, before, to)
	}
}

// fix moves a member whose order changed.
func (h *heap[T]) fix(i int, before order[T], to moved[T]) {
	if !h.down(i, before, to) {
		h.up(i, before, to)
	}
}

func (h *heap[T]) remove(i int, before order[T], to moved[T]) {
	last := len(h.items) - 1
	to.tell(h.items[i], none)
	if i != last {
		h.items[i] = h.items[last]
		to.tell(h.items[i], i)
	}
	h.items = h.items[:last]
	if i < last {
		h.fix(i, before, to)
	}
}

func (h *heap[T]) up(i int, before order[T], to moved[T]) {
	for i > 0 {
		parent := (i - 1) / 2
		if !before(&h.items[i], &h.items[parent]) {
			return
		}
		h.swap(i, parent, to)
		i = parent
	}
}

func (h *heap[T]) down(i int, before order[T], to moved[T]) (went bool) {
	for {
		child := 2*i + 1
		if child >= len(h.items) {
			return went
		}
		if right := child + 1; right < len(h.items) && before(&h.items[right], &h.items[child]) {
			child = right
		}
		if !before(&h.items[child], &h.items[i]) {
			return went
		}
		h.swap(i, child, to)
		i, went = child, true
	}
}

func (h *heap[T]) swap(i, j int, to moved[T]) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	to.tell(h.items[i], i)
	to.tell(h.items[j], j)
}
