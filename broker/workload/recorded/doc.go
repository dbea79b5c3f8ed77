// Package recorded reads the public recordings of clusters that Ebbtide is judged on, in
// the form in which docs/reference/histories.md describes them.
//
// It promises values as published: it does not scale, smooth or fill. Where a recording
// has a hole, its curve is not a number, and so it is after its end.
package recorded
