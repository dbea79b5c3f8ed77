package engine

// event is the end of a running request.
type event struct {
	at      float64
	replica *replica
	place   int
	epoch   uint32
}

// agenda is a binary heap of events by time; written out because
// container/heap's boxing costs more than the rest of the simulation.
type agenda []event

func (a *agenda) push(e event) {
	h := append(*a, e)
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].at <= h[i].at {
			break
		}
		h[parent], h[i] = h[i], h[parent]
		i = parent
	}
	*a = h
}

func (a *agenda) pop() event {
	h := *a
	top := h[0]
	last := len(h) - 1
	h[0] = h[last]
	h[last] = event{}
	h = h[:last]
	for i := 0; ; {
		least, left := i, 2*i+1
		for child := left; child <= left+1 && child < last; child++ {
			if h[child].at < h[least].at {
				least = child
			}
		}
		if least == i {
			break
		}
		h[least], h[i] = h[i], h[least]
		i = least
	}
	*a = h
	return top
}
