// Package lend is Ebbtide's decision core: given what the cluster looks like
// now, what the last decision remembered and the rules, it says what to lend,
// what to take back and why.
//
//	Decide(Snapshot, State, Policy) (Plan, State)
//
// It does no I/O, starts no goroutine and reads no clock: whatever a decision
// depends on is an argument. Equal arguments give equal results to the byte, so
// that a recorded snapshot replays to the identical plan. The live broker, the
// simulator, explain, replay and the tests all call this one function.
//
// It guarantees, for any input: no unit is granted twice; nothing is lent on a
// load that is unknown; after every grant, evicting loans alone still makes room
// for all owed pods of every lender in their shape; no victim of a reclaim could
// have been spared; gangs are lent and taken back whole.
//
// It does not share fairly between tenants: all waiting jobs stand in one order, by
// priority and then by age, so that whoever may use higher priority classes comes
// first. Which classes a tenant may use is settled before the snapshot is made.
// What one tenant can take is bounded by its nominal quota and its borrowing limit.
//
// It refuses to guess: input it cannot use (an unknown queue, a job without a
// tenant) yields a Verdict with a reason, never an error and never an action.
package lend
