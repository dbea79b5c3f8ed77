// Package escapes holds the proof of law 9, that a tenant cannot escape: its tests
// try, as ordinary users of one tenant, every way out that is known, on a real
// control plane with the whole of Ebbtide on it. Each way has its expected answer,
// and after each the tenant holds no more than its quota and its loans cover.
//
// The same ways stand in docs/concepts/what-a-tenant-cannot-do.md, for people.
package escapes
