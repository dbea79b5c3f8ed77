package quota

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Share is how much a node borrows of what could be lent to it, by its weight, in
// millionths. It is rounded down.
type Share int64

// Infinite is the share of a node that borrows with weight 0, or where nothing is
// lendable. No other share reaches it.
const Infinite Share = math.MaxInt64

const wholeShare = 1_000_000

// String is the share as a decimal fraction.
func (s Share) String() string {
	if s == Infinite {
		return "infinite"
	}
	whole, part := s/wholeShare, s%wholeShare
	if part == 0 {
		return strconv.FormatInt(int64(whole), 10)
	}
	return fmt.Sprintf("%d.%s", whole, strings.TrimRight(fmt.Sprintf("%06d", part), "0"))
}

// shares caches a node's dominant shares; use of the node makes them unknown.
type shares struct {
	now, order           Share
	knowsNow, knowsOrder bool
}

// Share is the node's weighted dominant share now: the largest, over the dimensions,
// of what it borrows as part of what its parent's tree could lend it at most, by its
// weight. It is 0 at a root and where nothing is borrowed.
func (t *Tree) Share(n NodeID) Share {
	c := &t.shares[n]
	if !c.knowsNow {
		c.now, c.knowsNow = t.dominant(n, false), true
	}
	return c.now
}

// OrderShare is Share with what was remembered added to what is borrowed. With
// weight 0, and where nothing is lendable, only what is borrowed now counts.
func (t *Tree) OrderShare(n NodeID) Share {
	c := &t.shares[n]
	if !c.knowsOrder {
		c.order, c.knowsOrder = t.dominant(n, true), true
	}
	return c.order
}

// Remember adds to what the tenant borrowed lately: an average of units of the
// flavor in thousandths. What a cohort borrowed lately is the sum over its children.
// A milli below 0 counts as 0.
func (t *Tree) Remember(tenant NodeID, f FlavorID, milli int64) {
	if milli <= 0 {
		return
	}
	if t.lately == nil {
		t.lately = make([]Amount, len(t.cells))
	}
	for n := tenant; n != None; n = t.nodes[n].parent {
		for _, d := range t.flavors[f].draws {
			l := &t.lately[int(n)*t.dims+d.dim]
			*l = l.Add(Amount(milli).Times(int64(d.per)))
		}
		t.shares[n].knowsOrder = false
	}
}

// SharesWith returns the OrderShares of the tenant and of each cohort above it below
// the root, bottom up, as they would be after the tenant used that many more units.
// It changes nothing, and returns buf's array if that is large enough. A negative
// number of units counts as 0.
func (t *Tree) SharesWith(tenant NodeID, f FlavorID, units Amount, buf []Share) []Share {
	return t.sharesWith(tenant, f, units, true, buf)
}

func (t *Tree) sharesWith(tenant NodeID, f FlavorID, units Amount, history bool, buf []Share) []Share {
	buf = buf[:0]
	for n := tenant; t.nodes[n].parent != None; n = t.nodes[n].parent {
		if history {
			buf = append(buf, t.OrderShare(n))
		} else {
			buf = append(buf, t.Share(n))
		}
	}
	// More use of a dimension changes no other, so that a node's largest share is
	// the largest of what it was and of what it becomes in the dimensions touched.
	for _, d := range t.flavors[f].draws {
		v := units.Times(int64(d.per))
		for i, n := 0, tenant; i < len(buf) && v > 0; i, n = i+1, t.nodes[n].parent {
			c := t.cell(n, d.dim)
			if over := c.usage.Add(v).Sub(c.subtree); over > 0 {
				buf[i] = max(buf[i], t.shareOf(n, d.dim, over, history))
			}
			v = v.Sub(c.local.Sub(c.usage).AtLeastZero())
		}
	}
	return buf
}

// Compare orders the claims of two tenants, given what SharesWith returned for them:
// negative if a's is the smaller. It compares the shares of the two children of
// their lowest common ancestor through which they are reached; of different trees,
// those next to the roots. A tenant's two claims compare by the tenant's own share.
//
// A cohort's share differs with the claim. To find the first of many claims, let
// those of one cohort compete first, and its winner against the other members of the
// cohort above: pairs in any other order may go round in a circle.
func (t *Tree) Compare(a NodeID, as []Share, b NodeID, bs []Share) int {
	i, j := t.below(a, b)
	return cmp.Compare(shareAt(as, i), shareAt(bs, j))
}

// below returns how many steps above a and b the children of their lowest common
// ancestor are, or the nodes next to the roots.
func (t *Tree) below(a, b NodeID) (i, j int) {
	for a != b {
		up, vp := t.nodes[a].parent, t.nodes[b].parent
		switch da, db := t.nodes[a].depth, t.nodes[b].depth; {
		case up == vp:
			return i, j
		case da > db:
			a, i = up, i+1
		case db > da:
			b, j = vp, j+1
		default:
			a, i, b, j = up, i+1, vp, j+1
		}
	}
	return i, j
}

func shareAt(shares []Share, i int) Share {
	if i = min(i, len(shares)-1); i < 0 {
		return 0
	}
	return shares[i]
}

// dominant is the largest share of the node over all dimensions.
func (t *Tree) dominant(n NodeID, history bool) Share {
	if t.nodes[n].parent == None {
		return 0
	}
	var most Share
	for d := range t.dims {
		c := t.cell(n, d)
		most = max(most, t.shareOf(n, d, c.usage.Sub(c.subtree).AtLeastZero(), history))
	}
	return most
}

// shareOf is the share in one dimension of a node below a root that borrows so much.
func (t *Tree) shareOf(n NodeID, dim int, borrowed Amount, history bool) Share {
	lendable := t.cell(t.nodes[n].parent, dim).potential
	weight := t.nodes[n].weight
	if lendable <= 0 || weight <= 0 {
		if borrowed > 0 {
			return Infinite
		}
		return 0
	}
	if !history || t.lately == nil {
		return portion(borrowed, wholeShare, lendable, weight)
	}
	milli := borrowed.Times(1000).Add(t.lately[int(n)*t.dims+dim])
	return portion(milli, wholeShare/1000, lendable, weight)
}

// portion is part × scale ÷ whole ÷ weight rounded down, below Infinite. The part
// is not negative, the others are positive.
func portion(part Amount, scale uint64, whole Amount, weight int64) Share {
	hi, lo := bits.Mul64(uint64(part), scale)
	if hi == 0 {
		return Share(min(lo/uint64(whole)/uint64(weight), uint64(Infinite)-1))
	}
	top, hi := hi/uint64(whole), hi%uint64(whole)
	lo, _ = bits.Div64(hi, lo, uint64(whole))
	top, hi = top/uint64(weight), top%uint64(weight)
	lo, _ = bits.Div64(hi, lo, uint64(weight))
	if top > 0 {
		return Infinite - 1
	}
	return Share(min(lo, uint64(Infinite)-1))
}
