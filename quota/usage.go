package quota

// Use books n units of the flavor on the node, which a tenant's pods, services and
// loans hold; a negative n gives them back, no more than is booked. Nothing is
// refused: what exists exists.
//
// A node's parent sees of it only what exceeds what the node keeps home.
func (t *Tree) Use(n NodeID, f FlavorID, units Amount) {
	for _, d := range t.flavors[f].draws {
		if units >= 0 {
			t.use(n, d.dim, units.Times(int64(d.per)))
		} else {
			t.giveBack(n, d.dim, Amount(0).Sub(units).Times(int64(d.per)))
		}
	}
}

func (t *Tree) use(n NodeID, dim int, v Amount) {
	for n != None && v > 0 {
		c := t.cell(n, dim)
		home := c.local.Sub(c.usage).AtLeastZero()
		c.usage = c.usage.Add(v)
		t.shares[n] = shares{}
		v = v.Sub(home)
		n = t.nodes[n].parent
	}
}

func (t *Tree) giveBack(n NodeID, dim int, v Amount) {
	for n != None && v > 0 {
		c := t.cell(n, dim)
		v = min(v, c.usage)
		above := c.usage.Sub(c.local).AtLeastZero()
		c.usage = c.usage.Sub(v)
		t.shares[n] = shares{}
		v = min(v, above)
		n = t.nodes[n].parent
	}
}

// Used is what is booked on the node, and on all below it as far as it exceeds what
// they keep home; in whole units of the flavor, rounded up. A slice's flavor shows
// what is used of the GPUs it is part of.
func (t *Tree) Used(n NodeID, f FlavorID) Amount {
	var most Amount
	for _, d := range t.flavors[f].draws {
		most = max(most, roundUp(t.cell(n, d.dim).usage, d.per))
	}
	return most
}

// Nominal is the node's own promise, Subtree that with what its children do not
// keep home, Potential the most it could ever use; in whole units of the flavor.
func (t *Tree) Nominal(n NodeID, f FlavorID) Amount {
	return t.least(n, f, func(c *cell) Amount { return c.nominal })
}

// Subtree is the node's own promise with what its children do not keep home.
func (t *Tree) Subtree(n NodeID, f FlavorID) Amount {
	return t.least(n, f, func(c *cell) Amount { return c.subtree })
}

// Potential is the most that the node could ever use, borrowed units included.
func (t *Tree) Potential(n NodeID, f FlavorID) Amount {
	return t.least(n, f, func(c *cell) Amount { return c.potential })
}

// NominalRoom is how much more the node can use without borrowing; 0 in a circle of
// cohorts.
func (t *Tree) NominalRoom(n NodeID, f FlavorID) Amount {
	if t.nodes[n].stray {
		return 0
	}
	return t.least(n, f, func(c *cell) Amount { return c.subtree.Sub(c.usage).AtLeastZero() })
}

// Borrowed is what the node uses beyond its subtree's quota, rounded up.
func (t *Tree) Borrowed(n NodeID, f FlavorID) Amount {
	var most Amount
	for _, d := range t.flavors[f].draws {
		c := t.cell(n, d.dim)
		most = max(most, roundUp(c.usage.Sub(c.subtree).AtLeastZero(), d.per))
	}
	return most
}

// Available is how many more units the node could use now without anything being
// taken back; never negative. n units fit exactly if n is not above it. It is 0 in a
// circle of cohorts, and for a tenant whose quota does not name the flavor.
func (t *Tree) Available(n NodeID, f FlavorID) Amount {
	if at := &t.nodes[n]; at.stray || !at.cohort && !at.lists[f] {
		return 0
	}
	least := Unlimited
	for _, d := range t.flavors[f].draws {
		least = min(least, t.available(n, d.dim).AtLeastZero()/d.per)
	}
	return least
}

// available follows the definition; it is negative where more is used than there is.
func (t *Tree) available(n NodeID, dim int) Amount {
	c := t.cell(n, dim)
	up := t.nodes[n].parent
	if up == None {
		return c.subtree.Sub(c.usage)
	}
	above := t.available(up, dim)
	if c.canBorrow {
		stored := c.subtree.Sub(c.local)
		above = min(above, c.borrowing.Add(stored).Sub(c.usage.Sub(c.local).AtLeastZero()))
	}
	return c.local.Sub(c.usage).AtLeastZero().Add(above)
}

func (t *Tree) least(n NodeID, f FlavorID, of func(*cell) Amount) Amount {
	least := Unlimited
	for _, d := range t.flavors[f].draws {
		least = min(least, of(t.cell(n, d.dim))/d.per)
	}
	return least
}

func roundUp(a, per Amount) Amount {
	if a <= 0 {
		return 0
	}
	return (a-1)/per + 1
}
