// Package actuate carries a plan out: ledger entries, API writes and events.
//
// It promises law 8. When taking, the ledger has the intent before anything
// happens, a lender's status.lent is advanced under a resourceVersion
// precondition before a Loan against it exists, and the Loan exists before its
// job may run. When giving back, units are proven free by a live read before the
// ledger closes the loan, and status.lent falls and the Loan goes only after
// that. Every step is idempotent: whatever a crash or an error leaves undone is
// found in the next snapshot and done then, so that neither a lost nor a doubled
// loan remains.
//
//	lend     LEND_INTENT → status.lent → Loan → Active → job resumed → LEND_GRANTED
//	reclaim  RECLAIM_INTENT → Reclaiming → notice → job suspended → (deadline) pods deleted
//	return   pods gone → Returned → RECLAIM_DONE → status.lent → finalizer, Loan deleted
//	stuck    QUARANTINED → Quarantined → (pods gone, or an administrator) → Returned → UNQUARANTINED → as above
//	reshape  RESHAPE_INTENT → status.lent → GPUNode.spec → (the agent) → RESHAPE_DONE
//	undo     GPUNode.spec → (the agent) → RESHAPE_UNDONE → off the GPUNode → status.lent
//
// The one write on an owner's workload, the scale of a target whose policy has
// scaling.mode Manage, is under the same kind of precondition.
//
// It refuses to decide: which loans, how many units and by when is the plan's
// business, and a plan whose premises have changed (a job that moved, a policy
// that somebody else wrote) is dropped in that part, never bent.
package actuate
