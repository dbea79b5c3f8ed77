package town

import (
	"fmt"
	"math"
	"time"
)

// settle gives everybody the state of now: what each lender needs and says, and who has the
// units of each node.
func (t *Town) settle() {
	t.mend()
	for i, s := range t.lenders {
		load := s.load[len(s.load)-1]
		s.Utilization, s.Lent = load, s.lent()
		s.Need = min(int64(math.Ceil(load*float64(s.Owned))), s.Owned-s.Lent-s.Headroom)
		s.Held, s.Running, s.Ready, s.Desired, s.NeedBy = s.Need+s.Headroom, s.Need+s.Headroom, s.Need+s.Headroom, s.Need, "load"
		s.Lendable = max(0, s.Owned-s.Need-s.Headroom-s.Lent)
		s.Since = t.now.Add(-time.Duration(5+i) * time.Minute)
		s.Load = Load{Known: true, ObservedAt: t.now.Add(-3 * time.Second), Coverage: 1, Requests: math.Round(load * float64(s.Owned) * 8), Slots: 8}
		s.say(i, load)
	}
	t.keep(t.lenders[0])
	for _, s := range t.lenders {
		left := s.Held
		for n := range s.free {
			node := &t.nodes[s.first+n]
			u := Units{Flavor: s.Flavor, Capacity: perNode, Lent: perNode - s.free[n]}
			u.Services = min(left, s.free[n])
			left -= u.Services
			u.Own, u.Free = u.Services, s.free[n]-u.Services
			node.Units = []Units{u}
		}
	}
	broken := &t.nodes[len(t.nodes)-1].Units[0]
	broken.Broken, broken.Free = min(2, broken.Free), broken.Free-min(2, broken.Free)
	t.nodes[len(t.nodes)-2].Schedulable = false
}

// keep gives a lender times in which it keeps units: one by hand, and one of each morning.
func (t *Town) keep(s *service) {
	s.Recall = &Window{Name: "recall", Keep: s.Need, From: t.now.Add(-10 * time.Minute), Until: t.now.Add(50 * time.Minute)}
	morning := t.now.Truncate(24 * time.Hour).Add(32 * time.Hour)
	s.Floors = []Window{*s.Recall, {Name: "mornings", Keep: s.Owned / 2, From: morning, Until: morning.Add(2 * time.Hour)}}
}

// say is a lender's verdict; one of them is a warning.
func (s *service) say(i int, load float64) {
	switch {
	case i == 2:
		s.Reason, s.Message = "LoadSampleStale", "The newest sample is 4m10s old; units are lent on samples of the last 60s only."
		s.Warning = true
		s.Load.Known, s.Load.Unknown, s.Utilization = false, "the newest sample is 4m10s old", -1
	case i == 4:
		s.Advise, s.Reason, s.Message = true, "AdviseOnly", fmt.Sprintf("Would lend %d more; the policy's mode is Advise.", s.Lendable)
	case load < low:
		s.Reason, s.Message = "BelowLowWater", fmt.Sprintf("Load %.0f %% is below the low water mark of %.0f %%, and may lend %d more.", 100*load, 100*low, s.Lendable)
	case load > high:
		s.Reason, s.Message, s.Lendable = "AboveHighWater", fmt.Sprintf("Load %.0f %% is above the high water mark of %.0f %%.", 100*load, 100*high), 0
	default:
		s.Reason, s.Message, s.Lendable = "AboveLowWater", fmt.Sprintf("Load %.0f %% is between the marks: what is lent stays, nothing new is lent.", 100*load), 0
	}
}

// mend makes some of the loans stand otherwise: some are asked back, one does not come free.
func (t *Town) mend() {
	for i := range t.loans {
		l := &t.loans[i]
		l.Checkpoint = t.now.Add(-min(t.now.Sub(l.Since), time.Duration(t.random.IntN(900))*time.Second))
		switch {
		case i%11 == 3:
			asked := t.now.Add(-time.Duration(5+t.random.IntN(25)) * time.Second)
			l.State, l.Reason, l.ReasonSince, l.ReclaimBy = "Reclaiming", "NeedRose", asked, asked.Add(10*time.Minute)
			l.Message = l.Grants[0].Lender + " needs units back: its load rose."
			for s := range t.spans {
				if t.spans[s].Loan == l.Name {
					t.spans[s].ReclaimAt, t.spans[s].Reason, t.spans[s].Message = asked, l.Reason, l.Message
				}
			}
		case i == 17:
			l.State, l.Reason, l.Warning, l.Message = "Quarantined", "Quarantined", true, "Its pods should have been gone 12m ago and are still there."
		}
	}
}

var waits = []struct {
	reason, message string
	start           bool
}{
	{"NoLendableUnits", "Needs %d units of h100 (%d pods of %d); services lend too little of it now.", true},
	{"NoRoomForGang", "Needs %d units of h100 (%d pods of %d); enough are lendable, but not %[3]d on one node.", true},
	{"OverBorrowingLimit", "Needs %d units of h100 (%d pods of %d); its tenant may borrow 4 more.", false},
	{"WaitingForReturn", "Needs %d units of h100 (%d pods of %d); they were asked back for it and are not free yet.", true},
	{"BehindInQueue", "Needs %d units of h100 (%d pods of %d); its queue allows no backfill.", false},
}

func (t *Town) queue() {
	places := map[string]int{}
	for i := range t.options.Jobs {
		tenant := borrowers[t.random.IntN(len(borrowers))]
		pods, each := int64(1+t.random.IntN(8)), int64(1)<<t.random.IntN(4)
		places[tenant]++
		w := waits[t.random.IntN(len(waits))]
		j := Job{
			Position: places[tenant], Job: fmt.Sprintf("%s/%s-%03d", tenant, models[t.random.IntN(len(models))], i+1), UID: fmt.Sprintf("waits-%d", i), Queue: tenant + "/default", Tenant: tenant,
			Priority: int32(10 * t.random.IntN(4)), Created: t.now.Add(-time.Duration(1+i*7) * time.Minute / 2), Flavor: "h100", Pods: pods, UnitsPerPod: each,
			Reason: w.reason, Message: fmt.Sprintf(w.message, pods*each, pods, each), Since: t.now.Add(-time.Duration(1+i%40) * time.Minute),
		}
		if i == 3 {
			j.Reason, j.Warning, j.Message = "EvictionBudgetSpent", true, "It was taken back 4 times within the hour, and rests for 20m."
		} else if w.start {
			j.EstimatedStart = t.now.Add(time.Duration(4+9*places[tenant]) * time.Minute)
		}
		t.jobs = append(t.jobs, j)
	}
}

// addCards adds two nodes with cards in MIG mode, some of whose slices are on a loan.
func (t *Town) addCards() {
	lender := t.lenders[len(t.lenders)-1]
	since := t.now.Add(-50 * time.Minute)
	loan := Loan{
		Name: "biology/sweep-slices-1", Job: "biology/sweep-slices", UID: "uid-slices", Borrower: "biology", Queue: "biology/default", Pods: 2, Units: 2,
		State: "Active", Since: since, Checkpoint: since, GraceSeconds: grace.Seconds(), Reason: "Active", ReasonSince: since, Message: lender.Name + " lent 2 of mig-1g.10gb.",
	}
	for n := range 2 {
		node := Node{Name: fmt.Sprintf("mig-%d", n), Schedulable: true}
		for c, holds := range []string{"PSL-Sp?", "S-xp"} {
			node.Cards = append(node.Cards, card(n, c, holds, loan.Job))
		}
		node.Units = count(node.Cards)
		loan.Grants = append(loan.Grants, Grant{Lender: lender.Name, Node: node.Name, Flavor: "mig-1g.10gb", Count: 1})
		t.nodes = append(t.nodes, node)
	}
	t.loans = append(t.loans, loan)
	t.spans = append(t.spans, Span{
		Loan: loan.Name, Job: loan.Job, Borrower: loan.Borrower, Lenders: []string{lender.Name}, Nodes: []string{"mig-0", "mig-1"}, Flavors: []string{"mig-1g.10gb"}, Units: 2,
		From: since,
	})
}

// card is one whose slices of one slot are held so; the second of a node begins with a large one.
func card(node, number int, holds, borrower string) Card {
	c := Card{UUID: fmt.Sprintf("GPU-%08x-0000-4000-8000-%012x", 0x5eed0+node*16+number, number), Board: "A100-SXM4-80GB", Slots: 8}
	at := 0
	if number == 1 {
		c.Slices = append(c.Slices, Slice{Profile: "3g.40gb", Start: 0, Size: 4, Hold: "S", Holder: "serving/vision-7d4c"})
		at = 4
	}
	for i, hold := range holds {
		s := Slice{Profile: "1g.10gb", Start: at + i, Size: 1, Hold: string(hold), Kept: hold == 'P' || hold == 'p'}
		switch hold {
		case 'P', 'S', '?':
			s.Holder = fmt.Sprintf("serving/embed-%d%d%d", node, number, i)
		case 'L':
			s.Holder = fmt.Sprintf("%s-%d", borrower, node)
		}
		c.Slices = append(c.Slices, s)
	}
	return c
}

// count has the units of cards, by flavor.
func count(cards []Card) []Units {
	units := []Units{{Flavor: "mig-1g.10gb"}, {Flavor: "mig-3g.40gb"}}
	for _, c := range cards {
		for _, s := range c.Slices {
			u := &units[0]
			if s.Size > 1 {
				u = &units[1]
			}
			u.Capacity++
			switch s.Hold {
			case "P", "S", "?":
				u.Own, u.Services = u.Own+1, u.Services+1
			case "L":
				u.Lent++
			case "x":
				u.Broken++
			default:
				u.Free++
			}
		}
	}
	return units
}
