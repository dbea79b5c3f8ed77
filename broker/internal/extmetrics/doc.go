// Package extmetrics shows training demand and lending to others: as an external
// metrics API, for a HorizontalPodAutoscaler, and as Prometheus metrics, for KEDA and
// dashboards. Only queued jobs borrow: what is scaled by these numbers, offline inference
// say, must come as queued Jobs, as KEDA's ScaledJobs can. Pods of a Deployment beyond the
// nominal quota would wait.
//
// It promises that a namespace sees its own numbers only, that every number is as old
// as the decision it came from, and says so, and that there is no number rather than 0
// before the first decision, and once decisions have stopped. What is on loan can be asked back at any time: who scales
// by these numbers must be able to stop within the grace of its lenders.
//
// It refuses to say whose units are lendable: a borrower sees how many, not from whom.
package extmetrics
