// Package scenarios holds the end-to-end tests: each starts a real control plane
// with Ebbtide's own scheduler and broker on it, does to it what a day in
// production does, and checks what a user would see.
//
// Every scenario ends with the same questions: was any unit in two hands, did
// every loan that was taken back come back, and does the ledger's own check say
// ok?
package scenarios
