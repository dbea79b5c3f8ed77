package lend

import "slices"

// stander is a job in its queue's line, and what its place is told with.
type stander struct {
	uid        string
	units      int64
	slot, kind int32
}

// standing brings the lines up to date.
func (c *crowd) standing() [][]stander {
	var refs []int
	for i := range c.lines {
		if !c.stale[i] {
			continue
		}
		refs = c.index.Line(i, refs[:0])
		line := c.lines[i][:0]
		for at, slot := range refs {
			b := &c.briefs[slot]
			line = append(line, stander{c.uids[slot], b.units, int32(slot), b.kind})
			c.position[slot] = int32(at + 1)
		}
		c.lines[i], c.stale[i] = line, false
	}
	return c.lines
}

// places is the order in which jobs were considered, with their places in their
// queues: those that were tried, and then the first of each queue before the second.
// Jobs of no queue have none.
func (l *line) places() []Place {
	ahead := make([]int64, len(l.kinds))
	out := l.placed.begin(l.index.Len())
	put := func(s *stander, position int32) {
		ahead[s.kind] = clamp(ahead[s.kind] + s.units)
		out.add(&Place{UID: s.uid, Position: position, Ahead: ahead[s.kind]})
	}
	lines := l.standing()
	for _, slot := range l.tried {
		at := l.position[slot]
		put(&lines[l.briefs[slot].queue][at-1], at)
	}
	lines = slices.Clone(lines)
	for at := 0; len(lines) > 0; at++ {
		longer := lines[:0]
		for _, line := range lines {
			if at == len(line) {
				continue
			}
			longer = append(longer, line)
			if s := &line[at]; !l.offered[s.slot] {
				put(s, int32(at+1))
			}
		}
		lines = longer
	}
	return out.end()
}
