// Package sim plays a cluster in virtual time: online services whose load rises and falls,
// training jobs that arrive, run, save their work and are stopped, nodes that fail. A
// [Policy] decides who gets what; package product is Ebbtide's own core, package baseline
// what others do.
//
// It is pure: no clock, no I/O, no goroutine, and equal scenarios give equal results to the
// byte. What it needs of memory grows with the jobs that are waiting or running and with
// the cluster, not with the length of the run: jobs come from a stream, and of those that
// ended only sums are kept.
//
// It promises that no policy can cheat: an act that the cluster could not carry out (units
// that somebody holds, a job that runs already) ends the run with an error, and every unit
// is in one hand at any moment.
//
// It refuses to guess: a load that is not known is not a number, and stays so; a scenario
// that cannot be played is an error that names the field.
//
// What it leaves out, against a real cluster: the time of API calls and of the scheduler,
// failures of single pods, the network, and that a job may run slower in one place than in
// another. A job's speed is in proportion to its pods.
//
// The files:
//
//	scenario, curve, valid*: what goes in
//	run, events: virtual time               draw: what is left to chance
//	world, spots: who holds what            acts: what a policy may do
//	arrivals, job, work: training jobs      service: replicas follow their load
//	cards, seats, reshape: GPUs in slices   failure: nodes fail
//	result, meter, sketch: what comes out   laws, lawcards: what is always true
package sim
