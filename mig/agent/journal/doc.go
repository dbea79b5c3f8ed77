// Package journal keeps on disk what a node's agent knows of its GPUs: which instances
// are its own, how often something was made at each place, and the changes that are
// under way with the step that was begun.
//
// It promises that what Save was given is there after any crash, whole or not at all,
// and that two programs never write one journal. It refuses to guess: a file that is
// torn, changed by hand or of another version is an error, and never an empty journal.
package journal
