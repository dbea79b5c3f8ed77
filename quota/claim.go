package quota

// Weight is the node's weight in fair sharing.
func (t *Tree) Weight(n NodeID) int64 { return t.nodes[n].weight }

// BorrowsWith tells of the tenant and of each cohort above it, the root included,
// bottom up, whether it would borrow for that many more units of the flavor: whether
// they would take it above its subtree's quota, or further above. A cohort that sees
// nothing of the units, because they stay home below it, does not. It changes
// nothing, and returns buf's array if that is large enough.
func (t *Tree) BorrowsWith(tenant NodeID, f FlavorID, units Amount, buf []bool) []bool {
	buf = buf[:0]
	for n := tenant; n != None; n = t.nodes[n].parent {
		buf = append(buf, false)
	}
	for _, d := range t.flavors[f].draws {
		v := units.Times(int64(d.per))
		for i, n := 0, tenant; n != None && v > 0; i, n = i+1, t.nodes[n].parent {
			c := t.cell(n, d.dim)
			buf[i] = buf[i] || c.usage.Add(v) > c.subtree
			v = v.Sub(c.local.Sub(c.usage).AtLeastZero())
		}
	}
	return buf
}
