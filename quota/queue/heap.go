package queue

// heap is a binary heap of ids, the first of all at the top, in the order that each
// call is given. One whose members move keeps their places in at, by id.
type heap struct {
	ids []int32
}

type less func(a, b int32) bool

// places says where in their heap the members are; nil for who need not know.
type places []int32

func (p places) set(id int32, at int) {
	if p != nil {
		p[id] = int32(at)
	}
}

func (h *heap) push(id int32, before less, at places) {
	h.ids = append(h.ids, id)
	at.set(id, len(h.ids)-1)
	h.up(len(h.ids)-1, before, at)
}

// arrange makes a heap of ids in any order.
func (h *heap) arrange(before less, at places) {
	for i, id := range h.ids {
		at.set(id, i)
	}
	for i := len(h.ids)/2 - 1; i >= 0; i-- {
		h.down(i, before, at)
	}
}

// fix moves a member whose order changed.
func (h *heap) fix(i int, before less, at places) {
	if !h.down(i, before, at) {
		h.up(i, before, at)
	}
}

func (h *heap) remove(i int, before less, at places) {
	last := len(h.ids) - 1
	at.set(h.ids[i], -1)
	if i != last {
		h.ids[i] = h.ids[last]
		at.set(h.ids[i], i)
	}
	h.ids = h.ids[:last]
	if i < last {
		h.fix(i, before, at)
	}
}

func (h *heap) up(i int, before less, at places) {
	for i > 0 {
		parent := (i - 1) / 2
		if !before(h.ids[i], h.ids[parent]) {
			return
		}
		h.swap(i, parent, at)
		i = parent
	}
}

func (h *heap) down(i int, before less, at places) (moved bool) {
	for {
		child := 2*i + 1
		if child >= len(h.ids) {
			return moved
		}
		if right := child + 1; right < len(h.ids) && before(h.ids[right], h.ids[child]) {
			child = right
		}
		if !before(h.ids[child], h.ids[i]) {
			return moved
		}
		h.swap(i, child, at)
		i, moved = child, true
	}
}

func (h *heap) swap(i, j int, at places) {
	h.ids[i], h.ids[j] = h.ids[j], h.ids[i]
	at.set(h.ids[i], i)
	at.set(h.ids[j], j)
}
