// Package guard watches the admission policies that lending relies on.
//
// A tenant that could start a queued job, or name a GPU's node, by itself would hold units
// that nobody can take back. What keeps it from that are admission policies, and those are
// objects of the API that somebody may delete or change. So nothing new is lent while one of
// them, or its binding, is gone, going, or not as shipped; while that is unknown, either.
//
// It promises that MayLend says so within Believe of the change, whether the API server
// answers or not, and that it says yes again with the first look that finds all in place.
// What is lent stays lent, and is taken back as ever. It refuses to put policies back: it may
// only read them.
//
// It cannot see an API server whose admission plugins are switched off, nor policies that are
// not Ebbtide's own.
package guard
