package match

import (
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/witness/history"
	"github.com/ebbtide/ebbtide/e2e/witness/laws"
)

// Acked is an entry that was shown.
type Acked struct {
	Seq  uint64
	Hash string // in hex
	// Ledger is its ID, if it was told.
	Ledger string
	// By says who has shown it.
	By string
}

// held is how many units a loan holds of lenders from a moment on.
type held struct {
	from  Moment
	units int64
}

// Moment is when something was seen, and Since the earliest time at which it can have happened.
type Moment struct {
	time.Time
	Since time.Time
}

func momentOf(e history.Event) Moment { return Moment{e.At, e.Since} }

// Course is a Loan's, as it was shown.
type Course struct {
	Name string
	// Initial: it was there before anybody watched.
	Initial bool
	// When it was first seen, and seen to be Active, Reclaiming, Returned and gone; zero:
	// not yet.
	Made, Active, Reclaiming, Returned, Gone Moment
	holds                                    []held
}

// Seen is what was shown so far.
type Seen struct {
	acked   map[string]Acked // by hash
	courses map[types.UID]*Course
}

// NewSeen is empty.
func NewSeen() *Seen { return &Seen{acked: map[string]Acked{}, courses: map[types.UID]*Course{}} }

// Acked is how many entries were shown, and Loans how many Loans.
func (s *Seen) Acked() int { return len(s.acked) }

// Loans is how many Loans were shown.
func (s *Seen) Loans() int { return len(s.courses) }

// Ended is when Loans were seen to be over, by namespace/name.
func (s *Seen) Ended() map[string]time.Time {
	ended := map[string]time.Time{}
	for _, c := range s.courses {
		switch {
		case !c.Returned.IsZero():
			ended[c.Name] = c.Returned.Time
		case !c.Gone.IsZero():
			ended[c.Name] = c.Gone.Time
		}
	}
	return ended
}

// Apply takes an event in.
func (s *Seen) Apply(e history.Event) {
	switch o := e.Object.(type) {
	case *coordinationv1.Lease:
		if h, ok := laws.HeadOf(o); ok && h.Seq > 0 && !e.Deleted {
			s.Show(Acked{Seq: h.Seq, Hash: h.Hash, Ledger: h.ID, By: "the published head"})
		}
	case *v1alpha1.Loan:
		s.loan(o, e)
	}
}

// Show adds an entry that somebody was shown by other ways.
func (s *Seen) Show(a Acked) {
	a.Hash = strings.ToLower(a.Hash)
	if known, ok := s.acked[a.Hash]; !ok || known.Ledger == "" {
		s.acked[a.Hash] = a
	}
}

func (s *Seen) loan(o *v1alpha1.Loan, e history.Event) {
	name := o.Namespace + "/" + o.Name
	c := s.courses[o.UID]
	if c == nil {
		c = &Course{Name: name, Initial: e.Initial, Made: momentOf(e)}
		s.courses[o.UID] = c
	}
	for i := range o.Status.Records {
		r := &o.Status.Records[i]
		s.Show(Acked{Seq: uint64(r.Seq), Hash: r.Hash, By: "loan " + name})
	}
	for condition, at := range map[string]*Moment{v1alpha1.LoanActive: &c.Active, v1alpha1.LoanReclaiming: &c.Reclaiming, v1alpha1.LoanReturned: &c.Returned} {
		if at.IsZero() && meta.IsStatusConditionTrue(o.Status.Conditions, condition) {
			*at = momentOf(e)
		}
	}
	lent := int64(0)
	for _, g := range laws.Left(o.Spec.Grants, o.Status.Shed) {
		if g.Lender != "" {
			lent += g.Count
		}
	}
	if n := len(c.holds); n == 0 || c.holds[n-1].units != lent {
		c.holds = append(c.holds, held{momentOf(e), lent})
	}
	if e.Deleted {
		c.Gone = momentOf(e)
	}
}

// unitTime is how long units were lent, from a moment until the loan was Returned: at least and
// at most, as far as was seen.
func (c *Course) unitTime(began Moment) (least, most time.Duration) {
	for i, h := range c.holds {
		from, to := began, c.Returned
		if h.from.After(began.Time) {
			from = h.from
		}
		if i+1 < len(c.holds) && c.holds[i+1].from.Before(to.Time) {
			to = c.holds[i+1].from
		}
		least += time.Duration(h.units) * max(0, to.Since.Sub(from.Time))
		most += time.Duration(h.units) * max(0, to.Sub(from.Since))
	}
	return least, most
}
