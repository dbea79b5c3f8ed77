// Package proxy stands between a program and the API server and makes the API fail as
// networks, overloaded servers and lagging caches do: by rules that say for which client,
// verb and resource, at which call or for which share of the calls, and what happens.
//
// It promises:
//   - Without a rule it changes nothing but the address: bodies, headers and codes are
//     those of the API server, watches come through event by event.
//   - The program under test is told no lies about who answers: the proxy's certificate is
//     the lab's, and the program's own credentials pass through.
//   - A dropped reply is one that the API server has given: what was asked for is done, and
//     the program sees its connection end. The proxy speaks HTTP/1.1 to the program, so that
//     one lost reply takes no other with it.
//   - What was done is written down, by call: the log says what happened, and Repeat makes
//     rules of it that do the same at the same calls. Whether a rule of shares strikes at
//     its n-th call depends on the rig's seed, the rule's place and n only; which call is
//     the n-th is the program's doing.
//
// It refuses to lose events out of the middle of a stream, which no network does: what a
// program does not observe, it misses between a watch that was cut and the list after it.
package proxy
