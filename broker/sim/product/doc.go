// Package product is Ebbtide itself as a policy of the simulator: it shows the simulated
// cluster to [lend.Decider] as the broker shows a real one, and carries out what that
// plans.
//
// It promises that no rule of the core is written again in here: what is lent, to whom and
// from when, who is asked back and for how long, follows from package lend, and what the
// past says of a load from package forecast, both as the broker uses them. Equal scenarios
// give equal runs to the byte.
//
// It refuses to look ahead: of a service's load it takes in the samples up to now, one for
// each time that the cluster looked at it, and of a job never how long it will run.
//
// What differs from the broker: nobody reads loads late or in part; a loan's pods are bound
// at once; units that are returned are lent at the same moment, unless Options.Relend says
// when; no history of use goes into fair shares, as with a half-life of 0. A job that a
// node's failure stops counts as one that its owner stopped: it is no eviction. In the
// results a pod's units are of one lender, where the core may have them of several.
//
// The files:
//
//	product: the policy        options: what may be set
//	nodes, cards, lenders, jobs, loans: what the core is shown; heard: a load and its past
//	act, places: what the core says is done; close: what has come free is returned first
//	quiet: ticks that need no whole decision
package product
