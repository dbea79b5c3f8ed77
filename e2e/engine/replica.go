package engine

// request is one request; times are virtual seconds.
type request struct {
	arrived        float64
	prompt, output int32
}

func (r request) tokens() int64 { return int64(r.prompt) + int64(r.output) }

// running is a request in the batch.
type running struct {
	request
	// started is when it was admitted, firstToken when its prompt was done.
	started, firstToken float64
}

// replica is one engine. It is driven by the fleet, which owns the event order.
type replica struct {
	model *Model
	ready bool
	// batch holds the running requests at fixed places, so that an event can
	// name one; free are the empty places.
	batch   []running
	free    []int
	waiting fifo
	// reserved is what the running requests need at most of the KV cache.
	reserved int64
	// epoch makes events of cancelled requests void.
	epoch uint32

	stats stats
	// shown are the gauges as the last step left them.
	shown gauges
}

// gauges are what a replica shows of its present.
type gauges struct {
	running, waiting int
	kv               float64
}

func newReplica(m *Model) *replica {
	r := &replica{model: m, batch: make([]running, m.Slots), stats: newStats()}
	r.vacate()
	return r
}

func (r *replica) vacate() {
	r.free = r.free[:0]
	for i := range r.batch {
		r.batch[i] = running{}
		r.free = append(r.free, i)
	}
	r.reserved = 0
	r.epoch++
}

func (r *replica) inFlight() int { return len(r.batch) - len(r.free) + r.waiting.len() }

// admit starts waiting requests while there are slots and KV room, first come
// first served, and calls begun with the place and the end of each.
func (r *replica) admit(now float64, begun func(place int, ends float64)) {
	for r.waiting.len() > 0 && len(r.free) > 0 {
		next := r.waiting.head()
		if r.reserved+next.tokens() > r.model.KVTokens {
			return
		}
		r.waiting.pop()
		place := r.free[len(r.free)-1]
		r.free = r.free[:len(r.free)-1]
		first := now + float64(next.prompt)*r.model.PromptSecondsPerToken
		r.batch[place] = running{request: next, started: now, firstToken: first}
		r.reserved += next.tokens()
		begun(place, now+r.model.ServiceSeconds(next.prompt, next.output))
	}
}

// finish ends the request at place and returns how long it had waited to begin.
func (r *replica) finish(place int, now float64) float64 {
	done := r.batch[place]
	r.batch[place] = running{}
	r.free = append(r.free, place)
	r.reserved -= done.tokens()
	r.stats.observe(done, now, r.model)
	return done.started - done.arrived
}

// step refreshes the gauges.
func (r *replica) step(now float64) {
	r.shown = gauges{running: len(r.batch) - len(r.free), waiting: r.waiting.len(), kv: r.kvUse(now)}
}

// kvUse is the share of the KV cache that holds tokens now.
func (r *replica) kvUse(now float64) float64 {
	tokens := 0.0
	for _, one := range r.batch {
		if one.output == 0 {
			continue
		}
		decoded := (now - one.firstToken) / r.model.DecodeSecondsPerToken
		tokens += float64(one.prompt) + min(max(decoded, 0), float64(one.output))
	}
	return tokens / float64(r.model.KVTokens)
}

// drop takes all requests away, running ones first, and leaves the replica empty.
func (r *replica) drop() []request {
	var left []request
	for _, one := range r.batch {
		if one.output > 0 {
			left = append(left, one.request)
		}
	}
	for r.waiting.len() > 0 {
		left = append(left, r.waiting.pop())
	}
	r.vacate()
	return left
}

// fifo is a queue that reuses its room.
type fifo struct {
	items []request
	first int
}

func (q *fifo) len() int      { return len(q.items) - q.first }
func (q *fifo) head() request { return q.items[q.first] }

func (q *fifo) push(r request) { q.items = append(q.items, r) }

func (q *fifo) pop() request {
	r := q.items[q.first]
	q.first++
	if q.first > 64 && q.first*2 > len(q.items) {
		q.items = q.items[:copy(q.items, q.items[q.first:])]
		q.first = 0
	}
	return r
}
