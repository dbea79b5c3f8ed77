package town

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Options say what there is. The zero value is not usable: see Small and Large.
type Options struct {
	Now time.Time
	// Lenders, and how many nodes of 8 units each owns.
	Lenders, NodesPerLender int
	// Loans that are open at Now, and jobs that wait.
	Loans, Jobs int
	// MostUnits of a loan.
	MostUnits int
	Seed      uint64
}

// Small is a cluster that fits on one screen.
func Small(now time.Time) Options {
	return Options{Now: now, Lenders: 6, NodesPerLender: 8, Loans: 26, Jobs: 14, MostUnits: 16, Seed: 7}
}

// Few has some more loans than fit on a screen.
func Few(now time.Time) Options {
	return Options{Now: now, Lenders: 6, NodesPerLender: 16, Loans: 250, Jobs: 14, MostUnits: 2, Seed: 5}
}

// Large has ten thousand open loans.
func Large(now time.Time) Options {
	return Options{Now: now, Lenders: 48, NodesPerLender: 64, Loans: 9999, Jobs: 5000, MostUnits: 2, Seed: 3}
}

const (
	perNode = 8
	back    = 48 * time.Hour // how long the past is
	step    = 5 * time.Minute
	low     = 0.35
	high    = 0.70
	grace   = time.Minute
)

var (
	services  = []string{"chat", "code", "search", "vision", "speech", "rank", "draft", "embed"}
	borrowers = []string{"research", "robotics", "biology", "climate"}
	models    = []string{"bert", "llama-sft", "vit", "diffusion", "whisper", "t5", "protein", "dpo", "reward", "sweep"}
)

// Town is the cluster. Its methods may be called at any time.
type Town struct {
	options Options
	random  *rand.Rand

	mu       sync.Mutex
	now      time.Time
	lenders  []*service
	nodes    []Node
	loans    []Loan // by Name
	jobs     []Job
	spans    []Span // by From
	watchers map[chan []string]bool
}

// service is a lender and its day.
type service struct {
	Lender
	phase, base, swing float64
	first              int // of its nodes
	free               []int64
	load               []float64 // every step since back
	number             int       // of its loans so far
}

// New makes a town.
func New(o Options) *Town {
	t := &Town{options: o, random: rand.New(rand.NewPCG(o.Seed, o.Seed)), now: o.Now.UTC().Truncate(time.Second), watchers: map[chan []string]bool{}}
	for i := range o.Lenders {
		t.lenders = append(t.lenders, t.service(i))
	}
	t.live()
	t.settle()
	t.queue()
	t.addCards()
	slices.SortStableFunc(t.spans, func(a, b Span) int { return a.From.Compare(b.From) })
	slices.SortFunc(t.loans, func(a, b Loan) int { return cmp.Compare(a.Name, b.Name) })
	return t
}

func (t *Town) service(i int) *service {
	name := services[i%len(services)]
	if i >= len(services) {
		name = fmt.Sprintf("%s-%d", name, i/len(services)+1)
	}
	owned := int64(t.options.NodesPerLender * perNode)
	s := &service{
		Lender: Lender{
			Name: "serving/" + name, Tenant: "serving", Flavor: "h100", Owned: owned, UnitsPerPod: 1,
			LowWater: low, HighWater: high, DwellSeconds: 300, CooldownSeconds: 300, MaxGraceSeconds: grace.Seconds(), Headroom: 2,
		},
		phase: t.random.Float64() * 1.2, base: 0.42 + 0.06*t.random.Float64(), swing: 0.30 + 0.08*t.random.Float64(),
		first: len(t.nodes),
	}
	if i%3 == 1 {
		s.Name, s.Tenant = "media/"+name, "media"
	}
	for n := range t.options.NodesPerLender {
		t.nodes = append(t.nodes, Node{Name: fmt.Sprintf("gpu-%s-%02d", name, n), Schedulable: true})
		s.free = append(s.free, perNode)
	}
	return s
}

// loadAt is a day's curve, lowest about now, with what scatters about it.
func (t *Town) loadAt(s *service, at time.Time) float64 {
	ago := t.now.Sub(at).Hours()
	wave := -math.Cos((ago/24)*2*math.Pi + s.phase - 1.9)
	return min(max(s.base+s.swing*wave+0.05*(t.random.Float64()-0.5), 0.03), 0.97)
}

// live plays the time until now: loans begin while a load is low and end by themselves, or
// when it rises.
func (t *Town) live() {
	type open struct {
		span int
		loan Loan
	}
	for _, s := range t.lenders {
		var held []open
		lending := false
		for at := t.now.Add(-back); at.Before(t.now); at = at.Add(step) {
			load := t.loadAt(s, at)
			s.load = append(s.load, load)
			if load < low {
				lending = true
			} else if load > high {
				lending = false
			}
			need := int64(math.Ceil(load*float64(s.Owned))) + s.Headroom
			held = slices.DeleteFunc(held, func(o open) bool {
				span := &t.spans[o.span]
				switch {
				case !lending && s.lent() > s.Owned-need && s.lent() > 0:
					t.end(s, o.loan, span, at, true)
				case t.random.Float64() < 0.006:
					t.end(s, o.loan, span, at, false)
				default:
					return false
				}
				return true
			})
			budget := t.options.Loans / len(t.lenders) * 9 / 10
			for tries := 0; lending && tries < 2+budget/40 && len(held) < budget; tries++ {
				units := t.size()
				if s.lent()+units > s.Owned-need {
					break
				}
				loan := t.lend(s, units, at.Add(time.Duration(t.random.IntN(280))*time.Second))
				held = append(held, open{len(t.spans) - 1, loan})
			}
		}
		for _, o := range held {
			t.loans = append(t.loans, o.loan)
		}
	}
	for t.fill(); len(t.loans) < t.options.Loans && t.fill(); {
	}
}

// fill lends once more, while there is room; false: there is none.
func (t *Town) fill() bool {
	for range 4 * len(t.lenders) {
		s := t.lenders[t.random.IntN(len(t.lenders))]
		if units := t.size(); s.lent()+units <= s.Owned*3/4 {
			t.loans = append(t.loans, t.lend(s, units, t.now.Add(-time.Duration(t.random.IntN(7200))*time.Second)))
			return true
		}
	}
	return false
}

func (t *Town) size() int64 {
	return min(int64(1)<<t.random.IntN(5), int64(t.options.MostUnits))
}

func (s *service) lent() int64 {
	sum := s.Owned
	for _, free := range s.free {
		sum -= free
	}
	return sum
}

// lend opens a loan on the nodes that have the most room.
func (t *Town) lend(s *service, units int64, at time.Time) Loan {
	s.number++
	borrower := borrowers[t.random.IntN(len(borrowers))]
	job := fmt.Sprintf("%s/%s-%s-%d", borrower, models[t.random.IntN(len(models))], s.Name[len(s.Tenant)+1:], s.number)
	l := Loan{
		Name: job + "-1", Job: job, UID: fmt.Sprintf("uid-%s-%d", s.Name, s.number), Borrower: borrower, Queue: borrower + "/default", Units: units, Pods: max(1, units/perNode),
		State: "Active", Since: at, Checkpoint: at, GraceSeconds: grace.Seconds(), Reason: "Active", ReasonSince: at,
		Message: fmt.Sprintf("%s lent %d of h100: its load is below the low water mark of %.0f %%.", s.Name, units, 100*low),
	}
	left := units
	for n := range s.free {
		if take := min(left, s.free[n]); take > 0 {
			s.free[n] -= take
			left -= take
			l.Grants = append(l.Grants, Grant{Lender: s.Name, Node: t.nodes[s.first+n].Name, Flavor: s.Flavor, Count: take})
		}
	}
	span := Span{Loan: l.Name, Job: job, Borrower: borrower, Lenders: []string{s.Name}, Flavors: []string{s.Flavor}, Units: units, From: at}
	for _, g := range l.Grants {
		span.Nodes = append(span.Nodes, g.Node)
	}
	t.spans = append(t.spans, span)
	return l
}

func (t *Town) end(s *service, l Loan, span *Span, at time.Time, asked bool) {
	t.free(s, l)
	span.To, span.End, span.Mark = at, "RELEASED", "]"
	if asked {
		took := time.Duration(8+t.random.IntN(50)) * time.Second
		span.ReclaimAt, span.To, span.End, span.Mark = at, at.Add(took), "RECLAIM_DONE", "x"
		span.Reason, span.Message = "NeedRose", fmt.Sprintf("%s needs its units back: its load is above the high water mark of %.0f %%.", s.Name, 100*high)
	}
}

func (t *Town) free(s *service, l Loan) {
	for _, g := range l.Grants {
		for n := range s.free {
			if t.nodes[s.first+n].Name == g.Node {
				s.free[n] += g.Count
			}
		}
	}
}
