// Package grants has the arithmetic of grants: units of a flavor on a node, of a lender.
// The API, the ledger and the core have types of their own for them, which differ in
// nothing; here is the one rule by which something is taken off them.
//
// It promises that nothing is ever below 0: what there is not is not taken off.
package grants

import "math"

// Grant is the form that all of them have.
type Grant interface {
	~struct {
		Lender string `json:"lender,omitempty"`
		Node   string `json:"node"`
		Flavor string `json:"flavor"`
		Count  int64  `json:"count"`
	}
}

// plain is a grant of any type.
type plain struct {
	Lender string `json:"lender,omitempty"`
	Node   string `json:"node"`
	Flavor string `json:"flavor"`
	Count  int64  `json:"count"`
}

// Without returns grants less others, matched by lender, node and flavor, in their order.
func Without[G Grant](all, others []G) []G {
	left, _ := Split(all, others)
	return left
}

// Split returns what is left of grants when others are taken off, and what was taken.
// Neither is nil, nor shares memory with what was given.
func Split[G Grant](all, others []G) (left, taken []G) {
	off := make(map[plain]int64, len(others)) // by grant without a count
	for _, g := range others {
		key := plain(g)
		key.Count = 0
		n := max(0, plain(g).Count)
		off[key] += min(n, math.MaxInt64-off[key])
	}
	left, taken = make([]G, 0, len(all)), make([]G, 0, len(others))
	for _, g := range all {
		have := plain(g)
		key := have
		key.Count = 0
		n := max(0, min(have.Count, off[key]))
		off[key] -= n
		if have.Count > n {
			rest := have
			rest.Count -= n
			left = append(left, G(rest))
		}
		if n > 0 {
			have.Count = n
			taken = append(taken, G(have))
		}
	}
	return left, taken
}
