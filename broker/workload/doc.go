// Package workload reads what a cluster has lived through: the load of its online services,
// its jobs and its nodes, as package sim plays them. docs/reference/histories.md describes
// every format.
//
// It promises that a format is told apart by the file's header alone; that what cannot be
// read is an error that names the file, the line, the field and the rule; that a value
// that is missing is not known, and never zero; and that what was assumed or left out is
// said in words. Jobs are a stream, and all but those of documents that are in no order
// are read as the run goes on.
//
// It does no I/O but through the readers that it is given. Package rows reads delimited
// files, gang makes jobs, recorded knows the public recordings.
package workload
