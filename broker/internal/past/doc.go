// Package past asks a cluster's Prometheus what the cluster lived through: the load and the
// replicas of its services, its nodes, and its jobs, as package sim plays them.
//
// The load is asked for by the signals of the services' own LendingPolicies, replicas, nodes
// and jobs by the metrics of kube-state-metrics. docs/reference/histories.md says which.
//
// It promises that what Prometheus does not have is not known, and never zero: a gap in a
// series, an answer with warnings, a moment at which too few replicas were heard. Whatever
// was assumed, left out or missing is in the town's notes, in words.
//
// It only asks, one question after the other, each over a bounded number of points.
package past
