// Package access is how the command line reaches the cluster and the broker.
//
// It promises that a caller can tell apart the three outcomes that matter to a
// person: an answer, a clear "there is no such thing", and a broker that could
// not be reached (ErrUnreachable), after which the API server's objects still
// say something. It never guesses one of them from another, and shows who the
// user is to nobody but the API server and a broker that is known to be one.
package access
