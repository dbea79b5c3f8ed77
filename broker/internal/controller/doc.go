// Package controller is the broker's loop: gather, decide, actuate; on a ticker,
// and at once on events.
//
// It promises that only the elected leader decides, that no decision is made
// before the caches are synced and the ledger was verified and reconciled with
// the API, that one decision is carried out before the next is made, and that a
// dead Prometheus delays none. It refuses to go on when it cannot know what it
// did: a lost lease, an overtaken epoch or a ledger commit of unknown outcome
// ends the process.
package controller
