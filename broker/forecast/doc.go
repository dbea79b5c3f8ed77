// Package forecast says from a load's past how high it may be shortly. It is pure: the
// time is an argument, and equal calls in equal order give equal results.
//
// It promises bounds that are seldom broken, not expectations that are right on average:
// every number it gives can only raise what is kept for a service. A time in which
// nothing was heard has no value; it is neither a low one nor one that is made up.
//
// It refuses samples that cannot be true (not a number, infinite, negative, beyond 1e15,
// from the future) and forgets what is older than fifteen days.
//
// The sizes and thresholds in here are not fitted to any trace. An hour, a day and a week
// are what services go by, and a minute is what loads are scraped and averaged over; the step of
// the adaptation is that of its authors; what is believed before enough was measured is the
// step from the low water mark of a default policy to the high one.
package forecast

// usable: beyond 1e15 a value is a broken counter, not a load.
func usable(v float64) bool { return v >= 0 && v <= 1e15 }
