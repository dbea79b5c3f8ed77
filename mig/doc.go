// Package mig knows how one GPU is cut into slices (NVIDIA's Multi-Instance GPU) and
// plans how to cut it anew.
//
// It promises that a plan never touches a slice that is not idle, that every prefix of
// a plan's steps leaves a layout which the hardware allows, that planning what is
// there already changes nothing, and that a plan's undo brings back what was there.
// Within one GPU plans are exact: no other set of placements meets more of the demand,
// and none that meets as much destroys less.
//
// It refuses to count: "two free 1g slices" says nothing about where they are, and so
// everything is about placements. It never plans a change of MIG mode, which takes a
// GPU from everybody who uses it.
//
// The package is pure: no clock, no I/O, no cgo. What a GPU offers is data, of the
// boards that come with it or as the driver told.
package mig
