// Package access stands before every listener of Ebbtide's programs: who asks, whether he
// may, and how much of the program he may take up meanwhile.
//
// It promises that no route is served without a rule, and that a rule is kept by asking the
// API server: TokenReview says who shows a token, and the cluster's own authority who shows
// a client certificate; SubjectAccessReview says what he may. Nobody is anonymous. What the
// API server does not answer is refused. An answer is believed for a while: who somebody is
// for a minute, that he may for five, that he may not for half of one; a right that is taken
// away is gone after five minutes.
//
// A Server speaks TLS 1.2 or later and reads its certificate again when the files change;
// without files it makes one for itself at each start. Requests are bounded: their headers,
// bodies, number and time.
package access
