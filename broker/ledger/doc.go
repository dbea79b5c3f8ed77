// Package ledger is the append-only record of what was lent, to whom, why, and
// how it came back: one bbolt file with one writer, the leading broker.
//
// # What it promises
//
//   - An entry that Append returned is on disk. It is never changed or removed.
//   - Entries are numbered from 1 without gaps, and each carries the hash of the
//     one before, so that a change anywhere shows in the hash of the head.
//   - One operation writes one entry: Append with an OpID and Kind that are taken
//     returns the first entry and writes nothing.
//   - A job has at most one open loan, and a loan goes only through the states
//     that LoanState shows.
//   - Double entry: a closed loan credits each lender and debits the borrower, or
//     the accounts quarantine and lost, with units × time. At every sequence number
//     the balances of a flavor add up to exactly 0. Totals by month and tenant move
//     in the same transaction.
//   - A leader that was overtaken cannot write: an epoch below the highest one is
//     refused.
//   - Damage is found, not served. Open verifies everything and refuses a file
//     with any fault, and no byte of the file, however wrong, ends the process
//     while it is opened.
//
// # What it refuses
//
// It repairs nothing by itself. Reindex, which derives again what follows from
// the log, and Recover, which gives up a header page that is lost, are for people
// to ask for. It does not retry a failed commit: whether its entry is
// on disk cannot be known (bbolt may show it after the error, and keep it), so
// the ledger stays failed until a process has opened it again. It does not say what is lent now, only what was intended and
// what happened: the API objects are the truth about now, and the broker
// reconciles the two at its start.
//
// The chain proves that nothing changed by accident. Whoever can write the file
// can also compute a new chain; only a head hash kept elsewhere (a log line, a
// metric, an annotation) shows that.
//
// While the file is open it must not be truncated or replaced by others: a mapped
// page that is gone ends the process. Verify notices a replaced file.
//
// # How to use it
//
// Record before effect when lending, effect before record when giving back:
//
//	LEND_INTENT   then create the Loan, admit the job; pods bound: LEND_GRANTED
//	              (or LEND_ABORTED if it came to nothing)
//	RECLAIM_INTENT then tell and suspend the job: STOPPED; pods left at the deadline:
//	              KILLED; units proven free: RECLAIM_DONE
//
// A job that ends by itself is RELEASED, one that the scheduler took back is
// PREEMPTED, one whose node is gone is LOST; one whose pods do not go is QUARANTINED
// until UNQUARANTINED. An intent holds its units just like
// a granted loan, but its time counts only from LEND_GRANTED; a loan whose end
// is noticed before its grant was recorded gets both entries. After a restart
// the caller repeats the operation that it is not sure of with the same OpID.
//
// A caller that gets ErrUnknownOutcome must exit; after the next Open the ledger
// shows which of the two it was. One that gets ErrStaleEpoch must exit as well.
//
// # Time
//
// An entry has the wall clock for people and a monotonic clock for accounts.
// Between two entries of one process the monotonic clock decides, so a step of
// the wall clock bills nobody; across processes the wall clock decides. A
// duration is never negative, and is cut to whole milliseconds once per loan.
//
// # The file
//
// Buckets meta and log are sacred; by_op, by_loan, by_tenant, open, acct and month are
// derived from the log and compared with it at every Open. A record is a version
// byte, fields in a fixed order, the hash of the record before, and a CRC-32C,
// because bbolt has checksums only for its header. The layout is described in
// docs/reference/ledger.md and pinned by a golden file, and whole files of every schema
// are in testdata/files. A file of an older schema is migrated when it is opened: the log
// is copied as it is, and all else derived anew.
//
// Before bbolt maps the file, every page is read and checked with plain reads
// (see checkPages), since bbolt trusts page numbers and lengths and a wrong one
// ends the process with a signal.
package ledger
