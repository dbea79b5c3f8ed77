// Package sim measures the simulator: how long it takes to play all jobs of the ITP trace
// over 60 days on 10,000 GPUs with the broker's own core deciding, how much memory that
// needs, and what the time between two decisions does to the outcome.
//
// The towns are sized for speed, not for a claim: five recorded services own nine tenths of
// the GPUs, and the trace's ten clusters are tenants that share the rest. What Ebbtide gains
// is measured by package results.
//
// The files:
//
//	town: the scenario       jobs: the trace, thinned or copied
//	run: what is measured    usage: of this process
package sim
