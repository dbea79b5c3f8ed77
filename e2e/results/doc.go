// Package results computes what docs/results publishes: how much of the GPUs that online
// services leave idle becomes training under Ebbtide and under others, on recorded loads
// and jobs, in the simulator.
//
// It promises that what is published depends on the committed traces and one seed alone:
// the same bytes each time, without a time of any machine in them. What is chosen by trying
// (tune.go) is chosen in the first week and judged in the second.
//
// It refuses to keep silent: a target that is missed and not declared as missed is an
// error, and so is one that is declared as missed and met.
//
// The files and packages:
//
//	run: all of it             tune: the terms, chosen in the first week
//	main: against others       ablations: parts left out or changed
//	deepseek: a published day  scale: larger clusters
//	town: the clusters         trial: one policy in one of them
//	report: pages, figures, results.json, targets
package results
