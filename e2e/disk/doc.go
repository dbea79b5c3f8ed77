// Package disk tries the ledger's file against what a machine can do to it: power cuts,
// disks that fail and fill up, bits that rot, and processes that are killed.
//
//   - Power: a real writer is traced. From its writes and syncs it puts together files as a
//     power cut could have left them: all that was synced, and of what was not any subset,
//     in sectors of 512 bytes. Each must open, and hold every acknowledged entry and at most
//     one more.
//   - Failing calls: each of the first syncs fails with EIO, writes and growth with ENOSPC.
//     The writer must stop; when it starts again nothing is lost and nothing doubled.
//   - Rot: flipped bits, zeroed sectors and cut files are refused before anything is served,
//     and end no process.
//   - Kills: writers die by SIGKILL at any moment.
//
// Every file is judged twice, by the product in a process of its own and by e2e/witness/books,
// and both must say the same. Controls take one guard away each (a sync without effect, an
// acknowledgement too early, operations forgotten, no checks but bbolt's), and must be found
// guilty, or the run fails.
//
// What it does not try: sectors that are torn within, disks that lie about a sync for ever,
// and directories (that a new ledger's name is on disk).
package disk
