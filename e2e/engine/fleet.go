package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/e2e/traces"
)

// gatewayRoom is how many requests may wait at the gateway.
const gatewayRoom = 200000

// Traffic is the arrival rate of requests, per virtual second, at a moment.
type Traffic func(at time.Duration) float64

// Fleet is one online service: its replicas and the gateway before them. Its
// methods may be called from any goroutine.
type Fleet struct {
	model   Model
	sizes   []traces.Tokens
	traffic Traffic

	mu       sync.Mutex
	random   *rand.Rand
	now      float64
	replicas map[string]*replica
	routable []*replica // by name, so that ties are broken alike in every run
	agenda   agenda
	gateway  fifo
	totals   Totals
	queued   histogram // of all finished requests
}

// Totals are counts over the whole life of the fleet.
type Totals struct {
	Arrived, Finished int64
	// Retried went back to the gateway because their replica went away.
	Retried int64
	// TurnedAway found the gateway full.
	TurnedAway int64
	// Waiting at the gateway and InFlight at the replicas, now.
	Waiting, InFlight int64
}

// NewFleet returns a service without replicas at virtual time 0. Sizes are the
// requests that arrivals are drawn from; seed fixes all chance.
func NewFleet(model Model, sizes []traces.Tokens, traffic Traffic, seed uint64) (*Fleet, error) {
	if err := model.Validate(); err != nil {
		return nil, err
	}
	if len(sizes) == 0 || traffic == nil {
		return nil, errors.New("fleet: sizes and traffic must be given")
	}
	for i, s := range sizes {
		if tokens := int64(s.Prompt) + int64(s.Output); s.Prompt < 1 || s.Output < 1 || tokens > model.KVTokens {
			return nil, fmt.Errorf("fleet: sizes[%d] has %d and %d tokens, must be at least 1 each and at most KVTokens (%d) together",
				i, s.Prompt, s.Output, model.KVTokens)
		}
	}
	return &Fleet{
		model: model, sizes: sizes, traffic: traffic,
		random:   rand.New(rand.NewPCG(seed, 0x65626274)),
		replicas: map[string]*replica{},
		queued:   newHistogram(requestBounds),
	}, nil
}

// SetReplica adds the replica, or says whether an existing one is ready. Only a
// ready replica gets new requests; one that is no longer ready goes on with what
// it has.
func (f *Fleet) SetReplica(name string, ready bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, known := f.replicas[name]
	if !known {
		r = newReplica(&f.model)
		f.replicas[name] = r
	}
	if known && r.ready == ready {
		return
	}
	r.ready = ready
	f.reroute()
	f.drainGateway()
}

// RemoveReplica takes the replica away; its requests go back to the gateway.
func (f *Fleet) RemoveReplica(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, known := f.replicas[name]
	if !known {
		return
	}
	delete(f.replicas, name)
	f.reroute()
	left := r.drop()
	f.totals.Retried += int64(len(left))
	for _, one := range left {
		f.route(one)
	}
}

// Advance plays everything up to a moment of virtual time. The arrival rate is
// read once per call, so calls should be closer together than it changes.
func (f *Fleet) Advance(to time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	end := to.Seconds()
	if end <= f.now {
		return
	}
	arrival := end
	rate := f.traffic(to)
	if rate > 0 {
		arrival = f.now + f.random.ExpFloat64()/rate
	}
	for arrival < end {
		f.finishUntil(arrival)
		f.now = arrival
		f.totals.Arrived++
		size := f.sizes[f.random.IntN(len(f.sizes))]
		f.route(request{arrived: arrival, prompt: size.Prompt, output: size.Output})
		arrival += f.random.ExpFloat64() / rate
	}
	f.finishUntil(end)
	f.now = end
	for _, r := range f.replicas {
		r.step(end)
	}
}

func (f *Fleet) finishUntil(end float64) {
	for len(f.agenda) > 0 && f.agenda[0].at <= end {
		e := f.agenda.pop()
		if e.epoch != e.replica.epoch {
			continue
		}
		f.queued.add(e.replica.finish(e.place, e.at), 1)
		f.totals.Finished++
		f.admit(e.replica, e.at)
		if len(e.replica.free) == len(e.replica.batch) {
			e.replica.step(e.at) // the engine's last step shows it empty
		}
	}
}

func (f *Fleet) admit(r *replica, now float64) {
	r.admit(now, func(place int, ends float64) {
		f.agenda.push(event{at: ends, replica: r, place: place, epoch: r.epoch})
	})
}

// route gives a request to the ready replica with the fewest in flight.
func (f *Fleet) route(one request) {
	var best *replica
	least := 0
	for _, r := range f.routable {
		if n := r.inFlight(); best == nil || n < least {
			best, least = r, n
		}
	}
	if best == nil {
		if f.gateway.len() >= gatewayRoom {
			f.totals.TurnedAway++
			return
		}
		f.gateway.push(one)
		return
	}
	best.waiting.push(one)
	f.admit(best, f.now)
}

func (f *Fleet) drainGateway() {
	if len(f.routable) == 0 {
		return
	}
	for f.gateway.len() > 0 {
		f.route(f.gateway.pop())
	}
}

func (f *Fleet) reroute() {
	names := make([]string, 0, len(f.replicas))
	for name, r := range f.replicas {
		if r.ready {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, strings.Compare)
	f.routable = f.routable[:0]
	for _, name := range names {
		f.routable = append(f.routable, f.replicas[name])
	}
}

// Totals returns the counts so far.
func (f *Fleet) Totals() Totals {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.totals
	t.Waiting = int64(f.gateway.len())
	for _, r := range f.replicas {
		t.InFlight += int64(r.inFlight())
	}
	return t
}

// QueuedWithin returns how long, in virtual time, the share q of the finished
// requests waited at most before they began, rounded up to a bucket of the
// request histograms. ok is false beyond the last bucket, and without requests.
func (f *Fleet) QueuedWithin(q float64) (wait time.Duration, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := uint64(0)
	for i, bound := range f.queued.bounds {
		n += f.queued.counts[i]
		if n > 0 && float64(n) >= q*float64(f.queued.n) {
			return time.Duration(bound * float64(time.Second)), true
		}
	}
	return 0, false
}

// replicaNames returns all replicas, sorted.
func (f *Fleet) replicaNames() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := make([]string, 0, len(f.replicas))
	for name := range f.replicas {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// view is a copy of what a replica shows.
type view struct {
	model  Model
	ready  bool
	gauges gauges
	stats  stats
}

func (f *Fleet) view(name string) (view, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, known := f.replicas[name]
	if !known {
		return view{}, false
	}
	return view{model: f.model, ready: r.ready, gauges: r.shown, stats: r.stats.clone()}, true
}
