// Package slices knows the MIG instances of a node as its GPUNode tells of them, and
// says which of them a pod gets.
//
// An instance is known by its GPU, profile, first slot and generation, never by
// its UUID. The package promises that nobody is given one that somebody has: the pod
// that the node's agent says holds it, or one that it was reserved for; that pods on
// loans are given none that is pinned; and that one which a reshape made goes only to
// loans that its lender made with it. Among those that are left it gives the one whose
// loss leaves the most places for larger ones.
//
// It refuses to guess where nothing is known: a node whose agent is silent is not to be
// asked (Fresh), and what is there is then a matter of counts.
// Which device a pod really gets, a kubelet with a device plugin decides; the agent says
// afterwards which, and its word then goes before what was reserved.
//
// All is computed from arguments: there is no clock and no I/O.
package slices
