// Package auditlog reads what the API server's audit log says of writes: who asked for what,
// when it was asked, when it was answered and how.
//
// It is a second history beside the watches: it knows who wrote, writes that were refused, and
// writes whose answer nobody got. It follows the file while it grows and when it is renamed.
// A write that was asked for and never answered, because the API server died or the log ends,
// has an unknown outcome; so has one that was answered with a failure of the server's.
package auditlog
