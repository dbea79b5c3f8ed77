package lend

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/quota"
)

// cut is the shortest grace that jobs of a tenant may be left with when what they were
// lent is asked back, and who allows no more.
type cut struct {
	grace  time.Duration
	lender string
}

// than says what becomes of a longer grace.
func (c *cut) than(grace time.Duration) string {
	lender := c.lender
	if IsCohortLender(lender) {
		lender = "cohort " + strings.TrimPrefix(lender, cohortPrefix)
	}
	return fmt.Sprintf("; when units of %s are asked back its pods get %s, not their grace of %s", lender, c.grace, grace)
}

// cuts are by tenant × flavor, as far as somebody asked; each is there once.
type cuts struct {
	*admission
	known map[int]*cut
	same  map[cut]*cut
}

// of is the cut among all who could lend to a job of the queue, now or later.
func (c *cuts) of(b *brief) *cut {
	if known := c.known[b.of]; known != nil {
		return known
	}
	out := cut{grace: math.MaxInt64}
	tenant := c.line.tenants[b.queue]
	lowest := func(grace time.Duration, lender string) {
		if grace < out.grace {
			out = cut{grace, lender}
		}
	}
	for _, l := range c.lenders { // by name
		id, f, ok := c.books.find(l.Tenant, l.Flavor)
		if !ok || f != b.flavor || l.Advise || l.Problem != nil || !c.lends(id, tenant, f) {
			continue
		}
		lowest(l.MaxGrace, l.Name)
	}
	if cohort := c.line.cohorts[b.queue]; cohort != "" {
		lowest(max(c.pol.QuotaGrace, 0), CohortLender(cohort))
	}
	if c.same[out] == nil {
		c.same[out] = &out
	}
	c.known[b.of] = c.same[out]
	return c.known[b.of]
}

// lends: services of the one tenant may lend to jobs of the other.
func (c *cuts) lends(from, to quota.NodeID, f quota.FlavorID) bool {
	if from == to {
		return true
	}
	limit := c.books.lending[c.books.at(from, f)]
	return c.books.used.Root(from) == c.books.used.Root(to) && (limit == nil || *limit > 0)
}

// tellGrace adds to what is said of jobs that wait to what their grace would be cut.
// Those that have got units were told with them.
func (l *line) tellGrace(a *admission) {
	c := &cuts{a, map[int]*cut{}, map[cut]*cut{}}
	type trimming struct {
		bound *cut
		grace time.Duration
	}
	type saying struct {
		trimming
		said int32
	}
	endings, texts := map[trimming]string{}, map[saying]int32{}
	for slot := range l.briefs {
		b := &l.briefs[slot]
		if !l.alive[slot] || b.refused || b.grace <= 0 || l.said[slot] == 0 {
			continue
		}
		cut := trimming{c.of(b), b.grace}
		o := &l.texts[l.said[slot]]
		if b.grace <= cut.bound.grace || o.reason == ReasonLent || o.reason == ReasonWithinNominal {
			continue
		}
		key := saying{cut, l.said[slot]}
		text, known := texts[key]
		if !known {
			if endings[cut] == "" {
				endings[cut] = cut.bound.than(b.grace)
			}
			text = l.text(outcome{o.reason, o.message + endings[cut]})
			texts[key] = text
		}
		l.said[slot] = text
	}
}
