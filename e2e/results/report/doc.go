// Package report writes what docs/results publishes: pages, figures and results.json, and
// holds the main experiment against its targets.
//
// It guarantees that equal reports give equal files. It refuses to praise or to hide: a
// target that is missed without being declared so is an error, and so is a shortfall that
// is declared and is none.
//
//	report: what there is to tell       answer: targets, and what became of them
//	files: the pages, what is printed   figures, words: how it is told
//	check: writing files, or comparing them with those that are there
package report
