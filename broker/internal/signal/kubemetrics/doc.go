// Package kubemetrics reads signals from the custom and the external metrics APIs:
// the numbers that a HorizontalPodAutoscaler sees, through the same clients.
//
// It promises that missing is never zero. An API that is not served, one that does
// not answer and a metric without values are three errors with three texts, and none
// is a reading. A reading is as old as the oldest value in it, by the metric's own
// timestamp and not by the time of the answer. Of a pods metric, up to a tenth of the
// pods may have no value: they count as the highest of the others.
//
// It refuses to look into another namespace than the policy's.
package kubemetrics
