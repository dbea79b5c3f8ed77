// Package rehearse plays a cluster's past again under other rules: it makes a scenario of
// histories, nodes and API objects, and runs policies on it.
//
// It promises that rules are read as the broker reads them: LendingPolicies, TenantQuotas
// and TrainingQueues go through package definition, as they would through the API server, and
// package gather. What the inputs do not say is assumed, and every assumption is told in
// words; what is unknown stays unknown. Equal inputs and seeds give equal results.
//
// It refuses to play what it would have to guess: a job whose tenant has no quota, a
// service that no policy is about although others have one, GPUs that no node has.
//
// The files:
//
//	inputs, loads, nodes, stream, live: what is read        objects, change: the rules
//	services, quotas, queues: what is assumed where nothing is said
//	stage: the scenario        play: the runs               answer: what they came to
package rehearse
