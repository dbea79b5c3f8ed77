// Package pool says how a node's GPUs are offered for dynamic allocation: as a pool of
// devices, with what they draw on, what they are called, and which are not to be had.
//
// It promises that devices fit on a board together exactly if their counters do, that of
// each profile those come first which leave the most for others, and that a device's name
// says what it is for as long as its GPU keeps its number. It knows nothing of claims.
package pool
