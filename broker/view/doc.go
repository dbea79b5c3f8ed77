// Package view turns loans, queues, lenders and ledger entries into what people
// read: table rows, one-sentence answers and an ASCII timeline.
//
// It is pure: what it shows depends on its arguments alone, the present moment
// included, so that a recorded input gives the same picture for ever. Its inputs
// are small types of its own; the callers (the command line, the broker's page,
// the lab) convert their objects into them.
//
// It guarantees plain ASCII, tables with one row per input whose first column is
// NAME and whose last is AGE, no spaces in titles or values, and "<none>" for
// what is absent. It refuses to guess: an unknown value is shown as "<unknown>",
// never as 0.
package view
