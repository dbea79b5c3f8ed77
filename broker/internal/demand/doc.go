// Package demand remembers what each lender's load was: the samples of the last minute,
// the highest load of every minute of the last eight days and of every ten of the last
// fifteen, and how long it took lately to have units back in service. That is about 150 KiB
// for each lender, and twice as much for a day after the clock leapt.
//
// It promises that nothing it returns makes a service look idler than it is: an unknown
// load is handed on unknown, a gap is a gap and never a zero, and what is not known yet
// is left out of a forecast or answered by a bound that is written down. Every method
// may be called concurrently, and none of those that a decision calls waits for I/O.
//
// It refuses to persist anything. Prometheus is the store: after a start Seed reads the
// past from there, in the background, and until it has answered (or where there is no
// Prometheus) the past begins with the first sample.
package demand
