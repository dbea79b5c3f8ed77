// Package town makes the clusters of the published results: five online services on
// nodes of their own, a pool of nodes for training, and the jobs of four training
// clusters, each a tenant with a quota.
//
// It promises that a town depends on its Config and the committed traces alone, and that
// nothing in it is sized by what comes after its first week: capacities, the pool and
// quotas are.
//
// What the recordings do not tell is stated here and drawn from the seed: what a job costs
// to stop (costs.go) and the load within a recording's bins (load.go).
package town
