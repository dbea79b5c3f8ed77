package linear

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// Never is the return of what was never answered.
const Never = int64(math.MaxInt64)

// Op is one request, about one unit.
type Op struct {
	// Unit is what it is about, such as a node's GPUs.
	Unit string
	// Holder has Count of it from then on; 0: it gives all back. Empty: the limit is Count
	// from then on.
	Holder string
	Count  int64
	// Call and Return in nanoseconds; Never: it was not answered.
	Call, Return int64
	// Unknown: it may have had no effect.
	Unknown bool
}

func (o Op) String() string {
	text := fmt.Sprintf("%s has %d", o.Holder, o.Count)
	switch {
	case o.Holder == "":
		text = fmt.Sprintf("limit %d", o.Count)
	case o.Count == 0:
		text = o.Holder + " gives back"
	}
	if o.Unknown {
		text += "?"
	}
	return text
}

// share is what one holder has.
type share struct {
	holder string
	count  int64
}

// state is never changed; shares are sorted by holder.
type state struct {
	limit  int64
	shares []share
}

func (s state) with(holder string, count int64) state {
	i, found := slices.BinarySearchFunc(s.shares, holder, func(x share, holder string) int { return cmp.Compare(x.holder, holder) })
	next := state{limit: s.limit, shares: slices.Clone(s.shares)}
	switch {
	case found && count == 0:
		next.shares = slices.Delete(next.shares, i, i+1)
	case found:
		next.shares[i].count = count
	case count > 0:
		next.shares = slices.Insert(next.shares, i, share{holder, count})
	}
	return next
}

func (s state) has(holder string) (n, all int64) {
	for _, x := range s.shares {
		if all += x.count; x.holder == holder {
			n = x.count
		}
	}
	return n, all
}

func (s state) String() string {
	parts := []string{fmt.Sprintf("limit %d", s.limit)}
	for _, x := range s.shares {
		parts = append(parts, fmt.Sprintf("%s: %d", x.holder, x.count))
	}
	return strings.Join(parts, ", ")
}

// step is what may follow a state. A cut limit takes nothing away; only who takes more has to
// keep to it.
func step(s state, o Op) []state {
	var next []state
	if o.Unknown {
		next = append(next, s)
	}
	if o.Holder == "" {
		return append(next, state{limit: o.Count, shares: s.shares})
	}
	had, all := s.has(o.Holder)
	if o.Count > had && all-had+o.Count > s.limit {
		return next
	}
	return append(next, s.with(o.Holder, o.Count))
}

func equal(a, b any) bool {
	x, y := a.(state), b.(state)
	return x.limit == y.limit && slices.Equal(x.shares, y.shares)
}

var nondeterministic = porcupine.NondeterministicModel{
	Init: func() []any { return []any{state{}} },
	Step: func(s, input, _ any) (out []any) {
		for _, next := range step(s.(state), input.(Op)) {
			out = append(out, next)
		}
		return out
	},
	Equal:             equal,
	DescribeOperation: func(input, _ any) string { return input.(Op).String() },
	DescribeState:     func(s any) string { return s.(state).String() },
}
