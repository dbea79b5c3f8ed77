package sim

import (
	"fmt"

	"github.com/ebbtide/ebbtide/mig"
)

// cards checks a node's cards: package mig says what a board allows.
func (s *Scenario) cards(n *Node, boards []mig.Geometry) error {
	if err := ascending("cards", "uuid", n.Cards, func(c *Card) string { return c.UUID }); err != nil {
		return err
	}
	for i := range n.Cards {
		c := &n.Cards[i]
		g := boardOf(boards, c.Board)
		if g == nil {
			return fmt.Errorf("cards[%d].board: there is no %q", i, c.Board)
		}
		if err := s.layout(g, c); err != nil {
			return fmt.Errorf("cards[%d].%w", i, err)
		}
		for k := range s.Flavors {
			if _, ok := profileOf(g, &s.Flavors[k]); ok && has(n, s.Flavors[k].Name) {
				return fmt.Errorf("units: %q is what cards[%d] is cut into, and must not be given", s.Flavors[k].Name, i)
			}
		}
	}
	return nil
}

// layout checks what a card is cut into.
func (s *Scenario) layout(g *mig.Geometry, c *Card) error {
	var layout []mig.Placed
	for i, at := range c.Slices {
		if i > 0 && comparePlaced(c.Slices[i-1].Placed, at.Placed) >= 0 {
			return fmt.Errorf("slices[%d]: profile %d at %d must come after profile %d at %d: they are in order", i,
				at.Profile, at.Start, c.Slices[i-1].Profile, c.Slices[i-1].Start)
		}
		layout = append(layout, at.Placed)
		if err := g.Check(layout); err != nil {
			return fmt.Errorf("slices[%d]: %w", i, err)
		}
		named := false
		for k := range s.Flavors {
			p, ok := profileOf(g, &s.Flavors[k])
			named = named || ok && p.ID == at.Profile
		}
		if !named {
			return fmt.Errorf("slices[%d]: no flavor has profile %d of %s", i, at.Profile, g.Board)
		}
	}
	return nil
}

func has(n *Node, flavor string) bool {
	for _, u := range n.Units {
		if u.Flavor == flavor {
			return true
		}
	}
	return false
}

// uuids checks that no two cards have the same name, nor two flavors the same profile.
func (s *Scenario) uuids() error {
	seen := map[string]string{}
	for _, n := range s.Nodes {
		for i, c := range n.Cards {
			if other, twice := seen[c.UUID]; twice {
				return fmt.Errorf("node %s: cards[%d].uuid: is %q, which is a card of node %s", n.Name, i, c.UUID, other)
			}
			seen[c.UUID] = n.Name
		}
	}
	profiles := map[string]string{}
	for i, f := range s.Flavors {
		if f.Compute < 0 || f.Compute > 7 {
			return fmt.Errorf("flavors[%d] (%s).compute: is %d, must be from 0 to 7", i, f.Name, f.Compute)
		}
		name := mig.Profile{Name: f.Profile}.Resource()
		if other, twice := profiles[name]; twice && f.Profile != "" {
			return fmt.Errorf("flavors[%d] (%s).profile: is %q, which is that of %s", i, f.Name, f.Profile, other)
		}
		profiles[name] = f.Name
	}
	return nil
}
