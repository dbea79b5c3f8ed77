// Package counterfactual answers what would be if something were otherwise, by asking the
// decision core about a snapshot in which that one thing is changed.
//
//	Nearest  under which small changes a waiting job would be admitted
//	Recall   which loans would end if a service's units were asked back
//	When     when so many units will have come free, if they do as they did
//
// It promises that every change that Nearest names admits the job when it is made, and that
// the next smaller one of its kind does not, both by lend.Decide on the snapshot as it was
// decided on; that it asks the core MostDecisions times at most, and says so where that was
// not enough to try all; and that what it says to a job's tenant names no other tenant, nor
// anything of one.
//
// It is pure, as the core is, and keeps nothing. It refuses to guess: what is not admitted
// in this decision is not said to be, though it may be in the next; and there is no When
// where too little has come free to go by.
package counterfactual
