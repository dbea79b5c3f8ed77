package soak

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// act is what the adversary does at a time.
type act int

const (
	actSurge act = iota // a service's load jumps
	actLeave            // a service is removed, and made again
	actKillBroker
	actKillScheduler
)

// move is one of its acts. Times are those of the soak, from its begin.
type move struct {
	at  time.Duration
	act act
	// service that it is about, an index.
	service int
	surge   surge
	// length of an absence.
	length time.Duration
}

// surge is load above a service's usual one.
type surge struct {
	// height is a share of all that the service owns.
	height   float64
	from, to time.Duration
	// scales: the service's replicas follow it, as an autoscaler would have them.
	scales bool
}

// What is drawn, in the time of the soak. Each is the mean of an exponential, but for
// the shares.
const (
	surgeEvery, surgeLength   = 150 * time.Second, 90 * time.Second
	leastSurge, mostSurge     = 20 * time.Second, 6 * time.Minute
	leaveEvery, leaveLength   = 15 * time.Minute, 2 * time.Minute
	brokerEvery, brokerAway   = 10 * time.Minute, 20 * time.Second
	schedulerEvery, schedAway = 12 * time.Minute, 10 * time.Second
	// scaling surges, and how often a loan is answered with a surge within answerWithin.
	scalingShare, answerShare = 0.7, 0.35
	answerWithin              = 40 * time.Second
)

// script draws what the adversary does of itself. The same configuration gives the same
// script. Each of its acts comes once at least, however short the soak is.
func (c Config) script() []move {
	random := rand.New(rand.NewPCG(c.Seed, 1))
	var moves []move
	every := func(mean time.Duration, make func(at time.Duration) move) {
		// The first is in the first half; what is left has a quarter to recover.
		at := time.Duration((0.1 + 0.4*random.Float64()) * float64(min(c.Length, 2*mean)))
		for ; at < c.Length*9/10; at += draw(random, mean) {
			moves = append(moves, make(at))
		}
	}
	for i := range services {
		every(surgeEvery, func(at time.Duration) move {
			return move{at: at, act: actSurge, service: i, surge: newSurge(random, at)}
		})
	}
	every(leaveEvery, func(at time.Duration) move {
		return move{at: at, act: actLeave, service: random.IntN(len(services)), length: 30*time.Second + draw(random, leaveLength)}
	})
	every(brokerEvery, func(at time.Duration) move {
		return move{at: at, act: actKillBroker, length: min(draw(random, brokerAway), time.Minute)}
	})
	every(schedulerEvery, func(at time.Duration) move {
		return move{at: at, act: actKillScheduler, length: min(draw(random, schedAway), 30*time.Second)}
	})
	slices.SortStableFunc(moves, func(a, b move) int { return int(a.at - b.at) })
	return moves
}

func newSurge(random *rand.Rand, at time.Duration) surge {
	return surge{
		height: 0.3 + 0.6*random.Float64(), scales: random.Float64() < scalingShare,
		from: at, to: at + min(max(draw(random, surgeLength), leastSurge), mostSurge),
	}
}

func draw(random *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(random.ExpFloat64() * float64(mean))
}

// tide is the load of all services. It may be used from any goroutine.
type tide struct {
	config Config

	mu     sync.Mutex
	start  time.Time
	random *rand.Rand
	surges [][]surge // by service
	calm   bool
	// replicas that an autoscaler has asked for lately, by service.
	asked [][]ask
}

// ask is what an autoscaler found that is needed, and when.
type ask struct {
	at       time.Time
	replicas int64
}

func newTide(c Config) *tide {
	return &tide{
		config: c, random: rand.New(rand.NewPCG(c.Seed, 2)),
		surges: make([][]surge, len(services)), asked: make([][]ask, len(services)),
	}
}

// begin starts the soak's clock.
func (t *tide) begin(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.start = now
}

// end stops all surges: from now on every service has its usual load.
func (t *tide) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calm = true
}

func (t *tide) since(now time.Time) time.Duration {
	return time.Duration(float64(now.Sub(t.start)) * t.config.Speed)
}

// rise adds a surge.
func (t *tide) rise(service int, s surge) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.surges[service] = append(t.surges[service], s)
}

// answer is how the adversary takes it that a service has lent something: at times with
// a surge, soon.
func (t *tide) answer(service int, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.start.IsZero() || t.calm || t.random.Float64() >= answerShare {
		return
	}
	at := t.since(now) + time.Duration(t.random.Float64()*float64(answerWithin))
	t.surges[service] = append(t.surges[service], newSurge(t.random, at))
}

// scaleDelay is how long an autoscaler waits before it believes that less is needed.
const scaleDelay = 30 * time.Second

// load is what share of all that it owns a service is busy with, and how many replicas
// its autoscaler wants for the part that it believes.
func (t *tide) load(service int, now time.Time) (share float64, replicas int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := services[service]
	share = s.usual
	believed := s.usual
	if at := t.since(now); !t.start.IsZero() && !t.calm {
		for _, surge := range t.surges[service] {
			if at >= surge.from && at < surge.to {
				share += surge.height
				if surge.scales {
					believed += surge.height
				}
			}
		}
	}
	share, believed = min(share, 1.2), min(believed, 1)
	owned := s.replicas(t.config)
	wants := min(int64(math.Ceil(believed*float64(owned)/0.65)), owned)
	list := append(t.asked[service], ask{now, wants})
	list = slices.DeleteFunc(list, func(a ask) bool { return now.Sub(a.at) > t.config.real(scaleDelay) })
	for _, a := range list {
		replicas = max(replicas, a.replicas)
	}
	t.asked[service] = list
	return share, max(replicas, 1)
}
