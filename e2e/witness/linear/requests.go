package linear

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/witness/auditlog"
	"github.com/ebbtide/ebbtide/e2e/witness/laws"
)

// Limit is what a unit's limit was from a moment on.
type Limit struct {
	Unit  string
	Count int64
	// From and Until: it took effect somewhere between the two; zero: it was so from the
	// beginning.
	From, Until time.Time
}

// NodeUnit names a node's units of a resource, JobUnit a job's place, QuotaUnit what a tenant
// was promised of a flavor, and LimitUnit what it may have with what it borrows.
func NodeUnit(node, resource string) string { return "node:" + node + ":" + resource }

// JobUnit is documented at NodeUnit.
func JobUnit(uid string) string { return "job:" + uid }

// QuotaUnit is documented at NodeUnit.
func QuotaUnit(tenant, flavor string) string { return "own:" + tenant + ":" + flavor }

// LimitUnit is documented at NodeUnit.
func LimitUnit(tenant, flavor string) string { return "all:" + tenant + ":" + flavor }

// Initial is a loan that was there when the witness began to look, and what it had.
type Initial struct {
	Name   string
	Spec   v1alpha1.LoanSpec
	Grants []v1alpha1.Grant
	// By then it was there.
	By time.Time
}

// builder makes operations of requests.
type builder struct {
	limited map[string]bool
	ops     []Op
	loans   map[string]*made
}

// made is a loan that was asked for.
type made struct {
	spec v1alpha1.LoanSpec
	// has is what the last request that was answered left it of each unit.
	has  map[string]int64
	last int64
	over bool
}

// Requests makes operations of what was asked of the API server about Loans. Units without a
// limit are left out. The initial loans were asked for before. Ended says when Loans were seen
// to be over, by namespace/name, for those that somebody ended in another way.
func Requests(writes []auditlog.Write, limits []Limit, initial []Initial, ended map[string]time.Time) []Op {
	b := &builder{limited: map[string]bool{}, loans: map[string]*made{}}
	for _, l := range limits {
		b.limited[l.Unit] = true
		o := Op{Unit: l.Unit, Count: l.Count}
		if !l.From.IsZero() {
			o.Call, o.Return = l.From.UnixNano(), l.Until.UnixNano()
		}
		b.ops = append(b.ops, o)
	}
	for _, l := range initial {
		m := &made{spec: l.Spec, has: map[string]int64{}}
		b.loans[l.Name] = m
		b.hold(l.Name, m, l.Grants, Op{Return: l.By.UnixNano()})
	}
	for i := range writes {
		if w := &writes[i]; w.Group == v1alpha1.GroupVersion.Group && w.Resource == "loans" && w.Outcome() != auditlog.Refused {
			b.request(w)
		}
	}
	for name, at := range ended {
		if m := b.loans[name]; m != nil && !m.over {
			b.hold(name, m, nil, Op{Call: m.last, Return: max(m.last, at.UnixNano())})
		}
	}
	return b.ops
}

func (b *builder) request(w *auditlog.Write) {
	name := w.Namespace + "/" + w.Name
	m := b.loans[name]
	o := Op{Call: w.Asked.UnixNano(), Return: Never, Unknown: w.Outcome() == auditlog.Unknown}
	if !o.Unknown {
		o.Return = w.Answered.UnixNano()
	}
	var body v1alpha1.Loan
	switch {
	case w.Verb == "create" && json.Unmarshal(w.Body, &body) == nil:
		if m == nil || m.over {
			m = &made{spec: body.Spec, has: map[string]int64{}}
			b.loans[name] = m
		}
		b.hold(name, m, body.Spec.Grants, o)
	case m == nil:
	case w.Verb == "update" && w.Subresource == "status" && json.Unmarshal(w.Body, &body) == nil:
		left := laws.Left(m.spec.Grants, body.Status.Shed)
		if meta.IsStatusConditionTrue(body.Status.Conditions, v1alpha1.LoanReturned) {
			left = nil
		}
		b.hold(name, m, left, o)
	case w.Verb == "delete":
		b.hold(name, m, nil, o)
	}
}

// hold adds an operation for each unit of which the loan has another number from now on.
func (b *builder) hold(name string, m *made, grants []v1alpha1.Grant, o Op) {
	now := map[string]int64{}
	for unit := range m.has {
		now[unit] = 0
	}
	for _, g := range grants {
		now[NodeUnit(g.Node, m.spec.Resource)] += g.Count
		now[LimitUnit(m.spec.Borrower, g.Flavor)] += g.Count
		if g.Lender == "" {
			now[QuotaUnit(m.spec.Borrower, g.Flavor)] += g.Count
		}
		now[JobUnit(string(m.spec.Job.UID))] = 1
	}
	for unit, n := range now {
		if job := unit == JobUnit(string(m.spec.Job.UID)); n == m.has[unit] || !job && !b.limited[unit] {
			continue
		} else if job && !b.limited[unit] {
			b.limited[unit] = true
			b.ops = append(b.ops, Op{Unit: unit, Count: 1})
		}
		o.Unit, o.Holder, o.Count = unit, name, n
		b.ops = append(b.ops, o)
		if !o.Unknown {
			m.has[unit] = n
		}
	}
	if !o.Unknown {
		m.last, m.over = o.Return, len(grants) == 0
	} else if _, known := m.has[JobUnit(string(m.spec.Job.UID))]; !known {
		for unit := range now { // so that whatever ends it gives these back
			m.has[unit] = -1
		}
		m.last = o.Call
	}
}

// Law is the law that a unit's history breaks: of a quota, that; of others, that each unit has
// one holder.
func Law(unit string) string {
	if strings.HasPrefix(unit, "own:") || strings.HasPrefix(unit, "all:") {
		return string(laws.Quota)
	}
	return string(laws.OneHolder)
}

// Describe says that a unit's history cannot have been.
func Describe(unit, drawing string) string {
	return fmt.Sprintf("%s: what was asked and answered cannot have happened one after the other; see %s", unit, drawing)
}
