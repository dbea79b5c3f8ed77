// Package signal reads the load of online services and turns it into lend.Load.
//
// A signal is a profile, which knows the metrics of an engine, or a value. Profiles are
// data (profiles/*.yaml). Prometheus reads them by PromQL that is made from that data,
// Scraper from the ready pods themselves; both give the same numbers. Values are
// PromQL of the policy's own, or what a ValueReader reads.
//
// It promises that missing is never zero: a query that fails, times out or
// returns nothing, a series of a pod that is gone, a value that is NaN, infinite,
// negative or beyond 1e15 and a sample from the future all count as not heard.
// So does an answer that came with warnings: federated servers say by them that
// their answer is partial. A replica that was not heard, or has ceased to be
// ready, is counted as busy with all its slots, and while one is not heard no load is
// low: hiding what replicas say, of any of them, never lends more. GPU use counts by the pod that has the
// GPU, so that a borrower's is never the lender's load. Every load carries the time of
// its oldest sample, so that the core can judge its age.
//
// It refuses to decide: what a load means is the core's business. It never blocks
// a decision: the poller asks in the background, each question is bounded by a
// timeout, no tenant's pods keep another's from being read, and a decision uses the latest answers, whatever their age.
package signal
