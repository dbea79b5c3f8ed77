// Package signal reads the load of online services from Prometheus and turns it
// into lend.Load.
//
// It promises that missing is never zero: a query that fails, times out or
// returns nothing, a series of a pod that is gone, a value that is NaN, infinite,
// negative or beyond 1e15 and a sample from the future all count as not heard.
// So does an answer that came with warnings: federated servers say by them that
// their answer is partial. A replica that was not heard, or has ceased to be
// ready, is counted as busy with all its slots. Every load
// carries the time of its oldest sample, so that the core can judge its age.
//
// It refuses to decide: what a load means is the core's business. It never blocks
// a decision: the poller asks in the background, each question is bounded by a
// timeout, and a decision uses the latest answers, whatever their age.
package signal
