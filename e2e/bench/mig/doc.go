// Package mig checks and measures the planner of slices.
//
// Check compares every plan with the best there is, for all states of one A100 and of
// others. What is best comes from code of this package's own, which tries every layout
// that the board allows and shares nothing with the planner but the data: not the places
// that exclude each other, nor the search, nor Phi. It also carries each plan out step by
// step, and looks that nothing is touched which must not be, that every step leaves a
// layout which the board allows, that planning again changes nothing, and that the undo
// brings back what was there.
//
// Bench lets slices come and go on a cluster of GPUs, and counts for how many of them there
// was no place, by how the place is chosen. Nothing that is in use is ever moved. On one GPU
// it also finds the offline optimum, by trying everything; on many it has a bound, which
// nobody reaches.
package mig
