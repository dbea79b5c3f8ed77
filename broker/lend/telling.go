package lend

import "slices"

// told is a list of the last plan. Most of what a plan says of many jobs was said in the
// one before: where all of it was, the plans share the list, which nobody may change.
type told[T comparable] struct{ last []T }

// telling is such a list as it is made: out, or as many of the last as were the same.
type telling[T comparable] struct {
	of   *told[T]
	same int
	out  []T
	most int
}

// begin makes a list of no more than so many.
func (t *told[T]) begin(most int) telling[T] { return telling[T]{of: t, most: most} }

func (t *telling[T]) add(v *T) {
	if t.out == nil {
		if t.same < len(t.of.last) && t.of.last[t.same] == *v {
			t.same++
			return
		}
		t.out = append(make([]T, 0, t.most), t.of.last[:t.same]...)
	}
	t.out = append(t.out, *v)
}

// end returns the list, which is never nil.
func (t *telling[T]) end() []T {
	if t.out == nil {
		t.out = slices.Clip(t.of.last[:t.same])
	}
	if t.out == nil {
		t.out = []T{}
	}
	t.of.last = t.out
	return t.out
}
