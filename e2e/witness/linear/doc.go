// Package linear asks whether lending and taking back, as they were asked for and answered,
// could have happened one after the other without a unit in two hands.
//
// Each request to the API server took effect at one moment between its call and its return, or,
// if nobody knows what came of it, at any later moment or never. Package porcupine looks for an
// order of such moments that the model allows. The model is a number of units, of which holders
// have some, never more together than the limit. It is one and the same for
//
//	a node's units of a resource   the holders are loans, the limit is what the node had
//	a job                          it has one place, and the holders are its loans
//	a tenant's quota of a flavor   the holders are its loans, and the limit changes
//
// It needs no watch and no revision, so it is a second opinion about law 1 and quotas, by
// another clock. It says nothing about histories for which the search takes too long.
package linear
