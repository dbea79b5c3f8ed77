package mig

import "github.com/ebbtide/ebbtide/mig"

// moving counts what has no place, from one slice on, if everything in use may be moved at
// any time at no cost: then a slice is rejected only if there is no way to place all. The
// difference from it is what it costs that nothing is moved.
func moving(gpus int, all []slice, from int) (rejected int) {
	var running ends
	var n amounts
	for i, s := range all {
		for len(running) > 0 && running[0].until <= s.from {
			n[pop(&running).profile.ID]--
		}
		n[s.profile.ID]++
		if packs(n, gpus) {
			push(&running, busy{slice: s})
			continue
		}
		n[s.profile.ID]--
		if i >= from {
			rejected++
		}
	}
	return rejected
}

// packs reports whether so many slices can be placed on so many GPUs of seven slices.
//
// A GPU without a 7g is a left half, of two pairs of slots, and a right half, of a pair and
// of slots 6 and 7, of which 7 is only for a 1g with double memory or a 3g. A 4g takes a left
// half. A 3g takes a half: a right one, in which less would have had a place. A 2g takes a
// pair. A 1g with double memory takes slots 6 and 7, in which there would have been place
// for one 1g, or a pair. What is left is for 1g: two in a pair, one at 6.
func packs(n amounts, gpus int) bool {
	number := func(p mig.ProfileID) int { return int(n[p]) }
	left, right := gpus-number(4)-number(3), gpus-number(4)
	threes := number(2)
	inRight := min(threes, max(right, 0))
	left, right = left-(threes-inRight), right-inRight
	if left < 0 || right < 0 {
		return false
	}
	pairs, ends := 2*left+right-number(1), right
	doubles := number(9)
	atEnd := min(doubles, ends)
	pairs, ends = pairs-(doubles-atEnd), ends-atEnd
	return pairs >= 0 && number(0) <= 2*pairs+ends
}
