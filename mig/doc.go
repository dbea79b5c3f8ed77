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
// # How plans are made
//
// A set of instances is allowed if each begins where its profile may, no two overlap, and
// there are no more of a profile, and of media engines, than the board allows. On all known
// boards that is so if each two of them are allowed together. So a Table numbers the places
// of a board, 13 to 30, and has for each of them the set of those that it excludes, and a
// plan is a search for a set of places to create, as bits: what is destroyed for it are the
// idle instances that it excludes. A branch is left when what could still be added to it is
// not worth more than the best so far, or as much and has cost more. For geometries on which
// pairs do not say all, every set that may have to go is tried too. Both are compared with
// trying everything, by the tests here and by e2e/bench/mig.
//
// Among plans that cost the same, Phi decides: the sum over all profiles of their size times
// the number of places that are still open. To choose the place, on all GPUs, after which Phi
// has fallen least (Loss, Best) leaves fewest later demands without a place, of all simple
// rules that were compared on slices that come and go. Idle instances that nobody asks for
// do not count as in use, because they can be made into others.
//
// A node of up to 8 GPUs is planned by dynamic programming over the parts of the demand that
// GPUs can give: of each GPU the cheapest way to give each part, and from the last GPU to the
// first the cheapest way to give what is left.
//
// # Where the boards come from
//
// boards.json was compiled from NVIDIA's MIG user guide and public outputs of nvidia-smi mig
// -lgip and -lgipp; Origins tells for each board which, what was assumed by family, and what
// is not known. BoardFor and Boards are for tests, planning ahead and comparing (Difference):
// what a GPU's own driver says wins.
//
// The package is pure: no clock, no I/O, no cgo. What a GPU offers is data, of the
// boards that come with it or as the driver told.
package mig
