package sim

import (
	"fmt"
	"math"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// Bounds of what is played, so that no sum of a few of them overflows.
const (
	forever   = 100 * 365 * 24 * time.Hour
	mostUnits = 1 << 20 // of a job's pods, and of a pod
	mostCount = 1 << 12 // of a node's units of one flavor
)

// span is a field that says how long something takes.
type span struct {
	name string
	d    time.Duration
}

// within names the first span that is negative, or longer than anything is.
func within(spans ...span) error {
	for _, s := range spans {
		if s.d < 0 || s.d > forever {
			return fmt.Errorf("%s: is %s, must be at least 0, and at most %s", s.name, s.d, forever)
		}
	}
	return nil
}

// Validate says what of a scenario cannot be played, but for its jobs, which are looked at
// when they come.
func (s *Scenario) Validate() error {
	measured := s.Length - s.Warmup
	switch {
	case s.Length <= 0 || s.Length > forever:
		return fmt.Errorf("length: is %s, must be above 0, and at most %s", s.Length, forever)
	case s.Warmup < 0 || measured <= 0:
		return fmt.Errorf("warmup: is %s, must be at least 0 and below length (%s)", s.Warmup, s.Length)
	case s.Points < 0 || time.Duration(s.Points) > measured:
		return fmt.Errorf("points: is %d, must be from 0 to one in a nanosecond of what is measured (%s)", s.Points, measured)
	case s.Jobs == nil:
		return fmt.Errorf("jobs: must be given")
	case s.Failures.Every != 0 && s.Failures.Every < time.Second:
		return fmt.Errorf("failures.every: is %s, must be 0 or at least a second", s.Failures.Every)
	}
	for _, check := range []func() error{s.spans, s.names, s.nodes, s.uuids, s.references} {
		if err := check(); err != nil {
			return err
		}
	}
	for i := range s.Services {
		if err := s.Services[i].validate(); err != nil {
			return fmt.Errorf("services[%d] (%s): %w", i, s.Services[i].Lender.Name, err)
		}
	}
	return nil
}

func (s *Scenario) spans() error {
	return within(
		span{"drain", s.Drain}, span{"sample", s.Sample}, span{"gap", s.Gap}, span{"reshapeTakes", s.ReshapeTakes},
		span{"failures.every", s.Failures.Every}, span{"failures.repair", s.Failures.Repair},
	)
}

// names checks that lists are sorted.
func (s *Scenario) names() error {
	for _, err := range []error{
		ascending("nodes", "name", s.Nodes, func(n *Node) string { return n.Name }),
		ascending("flavors", "name", s.Flavors, func(f *lend.Flavor) string { return f.Name }),
		ascending("cohorts", "name", s.Cohorts, func(c *lend.Cohort) string { return c.Name }),
		ascending("tenants", "name", s.Tenants, func(t *lend.Tenant) string { return t.Name }),
		ascending("queues", "name", s.Queues, func(q *lend.Queue) string { return q.Name }),
		ascending("services", "name", s.Services, func(v *Service) string { return v.Lender.Name }),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// references checks that what names something names what is there. Of tenants a scenario may
// say nothing.
func (s *Scenario) references() error {
	k := newKnown(s)
	for i, q := range s.Queues {
		if !k.tenants[q.Tenant] {
			return fmt.Errorf("queues[%d] (%s).tenant: there is no %q", i, q.Name, q.Tenant)
		}
	}
	for i := range s.Services {
		switch l := &s.Services[i].Lender; {
		case !k.flavors[l.Flavor]:
			return fmt.Errorf("services[%d] (%s).flavor: no node has any of %q", i, l.Name, l.Flavor)
		case k.slices[l.Flavor] && l.UnitsPerPod != 1:
			return fmt.Errorf("services[%d] (%s).unitsPerPod: is %d, must be 1: %q is a slice of a GPU", i, l.Name, l.UnitsPerPod, l.Flavor)
		case len(k.tenants) > 0 && !k.tenants[l.Tenant]:
			return fmt.Errorf("services[%d] (%s).tenant: there is no %q", i, l.Name, l.Tenant)
		}
	}
	return nil
}

// ascending checks that a list is sorted by names that are given, each once.
func ascending[T any](field, key string, list []T, name func(*T) string) error {
	for i := range list {
		this := name(&list[i])
		if this == "" {
			return fmt.Errorf("%s[%d].%s: must be given", field, i, key)
		}
		if i > 0 && this <= name(&list[i-1]) {
			return fmt.Errorf("%s[%d].%s: is %q, must come after %q: they are in order, each once", field, i, key, this, name(&list[i-1]))
		}
	}
	return nil
}

func (s *Scenario) nodes() error {
	services := map[string]bool{"": true}
	for i := range s.Services {
		services[s.Services[i].Lender.Name] = true
	}
	boards := boardsOf(s)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if !services[n.Home] {
			return fmt.Errorf("nodes[%d] (%s).home: there is no service %q", i, n.Name, n.Home)
		}
		field := fmt.Sprintf("nodes[%d] (%s).units", i, n.Name)
		if err := ascending(field, "flavor", n.Units, func(u *NodeUnits) string { return u.Flavor }); err != nil {
			return err
		}
		for k, u := range n.Units {
			if u.Count < 0 || u.Count > mostCount {
				return fmt.Errorf("%s[%d].count: is %d, must be from 0 to %d", field, k, u.Count, mostCount)
			}
		}
		if err := s.cards(n, boards); err != nil {
			return fmt.Errorf("nodes[%d] (%s).%w", i, n.Name, err)
		}
	}
	return nil
}

func (s *Service) validate() error {
	switch l := &s.Lender; {
	case l.UnitsPerPod < 1 || l.UnitsPerPod > mostCount:
		return fmt.Errorf("unitsPerPod: is %d, must be from 1 to %d", l.UnitsPerPod, mostCount)
	case l.Owned < 1 || l.Owned > math.MaxInt32:
		return fmt.Errorf("owned: is %d, must be from 1 to %d", l.Owned, math.MaxInt32)
	case !(s.Slots >= 0) || math.IsInf(s.Slots, 0) || s.Slots == 0 && len(s.Replicas) == 0:
		return fmt.Errorf("slots: is %v, must be above 0", s.Slots)
	case len(s.Replicas) == 0 && !(s.Target > 0 && s.Target <= 1):
		return fmt.Errorf("target: is %v, must be above 0, and at most 1", s.Target)
	case s.Least < 0 || s.Least > s.Most():
		return fmt.Errorf("least: is %d, must be from 0 to what owned and unitsPerPod allow (%d)", s.Least, s.Most())
	}
	if err := s.curves(); err != nil {
		return err
	}
	return within(span{"reload", s.Reload}, span{"drain", s.Drain}, span{"scaleDownAfter", s.ScaleDownAfter})
}

func (s *Service) curves() error {
	if len(s.Load) == 0 {
		return fmt.Errorf("load: must be given")
	}
	if err := s.Load.check(); err != nil {
		return fmt.Errorf("load%w", err)
	}
	if err := s.Replicas.check(); err != nil {
		return fmt.Errorf("replicas%w", err)
	}
	return nil
}

// check says what of a curve cannot be: each point is later than the one before it, and a
// value that is known is a finite number that is not negative.
func (c Curve) check() error {
	for i, p := range c {
		switch {
		case i > 0 && p.At <= c[i-1].At:
			return fmt.Errorf("[%d].at: is %s, must be after %s", i, p.At, c[i-1].At)
		case p.Value < 0 || math.IsInf(p.Value, 0):
			return fmt.Errorf("[%d].value: is %v, must be a number of at least 0, or not known (NaN)", i, p.Value)
		}
	}
	return nil
}
