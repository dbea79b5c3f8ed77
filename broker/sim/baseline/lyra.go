package baseline

import (
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// lyra is the scheduler of Lyra (EuroSys 2023; as Aryl, arXiv 2202.07896): whole servers
// are lent, jobs start by length on what is free, elastic ones share the rest by knapsack,
// and servers go back by what preempting their jobs costs. It knows how long jobs take.
//
// A server is what one node has of one flavor.
type lyra struct {
	name  string
	desk  desk
	takes taker
	line  shortLine
	// settled are the jobs, by Order, for which others give up workers now.
	settled map[int64]bool
	// seen is what there was when jobs were last looked at. unequal says that extra workers
	// were not divided since something changed, next when they may be.
	seen    glance
	unequal bool
	next    time.Duration
	// ahead: servers are taken back as soon as the headroom is touched, not only when replicas
	// wait for one.
	ahead bool
}

func newLyra(Past) (sim.Policy, error) {
	return &lyra{name: "lyra", takes: taker{choose: byRule(lend.LyraCost)}}, nil
}

func newLyraAhead(Past) (sim.Policy, error) {
	return &lyra{name: "lyra-ahead", takes: taker{choose: byRule(lend.LyraCost)}, ahead: true}, nil
}

const (
	// lyraHeadroom is how many idle servers a service keeps to grow into.
	lyraHeadroom = 1
	// lyraEvery is the least time between two divisions of the extra workers, each of which
	// costs the jobs that it changes.
	lyraEvery = time.Minute
)

// Name implements [sim.Policy].
func (l *lyra) Name() string { return l.name }

// Decide implements [sim.Policy].
func (l *lyra) Decide(w *sim.World) (again time.Duration) {
	if l.desk.open(w) {
		l.line, l.seen, l.unequal, l.next = shortLine{}, glance{}, false, 0
	}
	for _, s := range w.Services() {
		l.serve(s)
	}
	if l.seen.differs(&l.desk) {
		l.unequal, l.settled = true, map[int64]bool{}
		l.start()
	}
	if l.unequal && w.Now() >= l.next {
		l.unequal, l.next = false, w.Now()+lyraEvery
		l.divide()
	}
	l.seen.keep(&l.desk)
	if l.unequal {
		return l.next - w.Now()
	}
	return 0
}

// serve keeps servers for a service, as many as its waiting replicas fill and the headroom.
// If replicas wait for more than are vacant, it takes servers back for both.
func (l *lyra) serve(s *sim.ServiceState) {
	d, own := &l.desk, ground(s.Index)
	servers, each := l.servers(s)
	if each == 0 {
		return
	}
	waiting := int64(len(s.Pending))
	headroom := min(lyraHeadroom, ceilDiv(s.Most()-s.Desired, each))
	lacking := d.reserve(servers, ceilDiv(waiting, each)+headroom, own)
	if lacking > headroom || l.ahead && lacking > 0 {
		l.takes.back(d, servers, lacking, own)
		lacking = d.reserve(servers, lacking, own)
	}
	if lacking > headroom {
		// All others have replicas. Where those began beside jobs, the jobs are in the way.
		replicas := d.reserve(s, min(waiting, (lacking-headroom)*each), own)
		l.takes.back(d, s, replicas, own)
		d.reserve(s, replicas, own)
	}
	for _, i := range d.spots[s.Index] {
		if n := d.holes.free[i]; n > 0 && d.world.Spots()[i].Online > 0 {
			d.holes.shrink(s.FlavorID, i, n)
		}
	}
}

// servers is the service as if its replicas were whole servers of its own, and how many
// replicas a server has. Where its servers differ, the largest counts: smaller ones are no
// headroom.
func (l *lyra) servers(s *sim.ServiceState) (servers *sim.ServiceState, each int64) {
	size := int64(0)
	for _, i := range l.desk.spots[s.Index] {
		size = max(size, l.desk.world.Spots()[i].Capacity)
	}
	service, state := *s.Service, *s
	service.Lender.UnitsPerPod, state.Service = size, &service
	return &state, size / s.Lender.UnitsPerPod
}

func ceilDiv(a, b int64) int64 { return (max(a, 0) + b - 1) / b }
