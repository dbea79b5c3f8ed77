// Package scenarios holds the end-to-end tests: each starts a real control plane
// with Ebbtide's own scheduler and broker on it, does to it what a day in
// production does, and checks what a user would see.
//
// Every scenario ends with the same questions: was any unit in two hands, did
// every loan that was taken back come back, and does the ledger's own check say
// ok? With WITNESS=1, each is also watched and judged by package witness, which shares
// no code with the product. What takes minutes and is tried by the rounds of package faults
// as well runs by night, with LONG=1.
package scenarios
