// Package faults breaks Ebbtide in every way that docs/reference/faults.md names, and says in
// one line what was broken and what was lost.
//
// It is made of parts that can be run alone: e2e/disk tries the ledger's file, package rounds
// a running system, package proxy what comes between it and the API server, and e2e/escapes
// is attacked as a tenant.
//
// Controls are builds with one guard taken out, in which the same rounds must find something:
// a suite that finds nothing in them would find nothing elsewhere.
package faults
