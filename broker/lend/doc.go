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
// What a service needs is the highest of what its load, a panic, any signal, its
// autoscaler, its schedule and its past say, and the verdict names who. A forecast can
// only keep units from being lent: with or without one, no more is lent than the load
// of now allows. The same holds for what is to come and for what was lately.
//
// Who is served is decided by the quota tree and the queues (packages quota and
// quota/queue). A job gets its tenant's own quota first, then what its tenant's services
// lend, what nobody uses, and what others lend. A tenant that is within its nominal
// quota takes back from those who borrow, one with a smaller share from one with a larger;
// a request takes once, and what comes back is kept for it. Nobody's own quota is taken
// but by a higher priority of the same tenant. A job whose eviction budget is spent takes
// only what lets it run on its tenant's own quota, since it is lent to no more.
//
// A job that has waited for Policy.ReserveAfter and could not be admitted keeps its room,
// the first of each queue: whoever comes after it gets only what leaves room for it once
// the loans that were there before have gone. With k such jobs before it, it starts
// after k+1 times the longest run and grace at most; after twice that if its tenant's own
// jobs hold some of the nominal quota it needs, since until they have gone it comes after
// others' claims to theirs. Of one flavor in one tree the first
// eight are guarded at a time, which changes nothing about the bound. Claims of other
// tenants to their nominal quota are not delayed for a job that borrows. Nothing is kept
// for a job that could not start with all of that gone, as where a service could then not
// get a node back: the next of its queue has the reservation.
//
// Slices of GPUs are units like others. Those that are pinned are room for services and
// never for loans, and where cards show who has which slice, nothing is lent but what they
// show to be idle. Where a lender allows it, idle slices of its own are made into the one
// that a job waits for, if the way back is legal, the trough is expected to pay for it, and
// the undoing fits into the grace. While that lasts, the slices that went are lent in their
// lender's units, to the loan of what was made or to nobody, so that need, victims and laws
// are what they are without it; what goes back first is what nobody has. Nobody's slices are
// mixed with another's, a gang gets all of its slices or none, and what was made for a job
// that is gone is for the next one that wants such, or goes back at once.
//
// It refuses to guess: input it cannot use (an unknown queue, a job without a
// tenant) yields a Verdict with a reason, never an error and never an action.
//
// The files, by the steps of Decide:
//
//	in and out      snapshot, card, service, state, plan; record: a decision to replay
//	the steps       decide; decider, crowd: what is kept of waiting jobs between decisions;
//	                facts: what is compared of each; enter: who stands in the queues; atlas: how
//	                nodes are numbered; shelf: in what orders loans are; ground: what was
//	                promised; scratch: memory
//	1 loans end     loans; checkpoint: when work was saved; history: how often it was lost
//	2 queues drain  drain
//	3 rooms         pool: what nodes have; fit: whether pods fit into it
//	4 lenders       lender: what is owed and lendable; load; hysteresis: dwell, cooldown,
//	                unknown; need, panic: what is needed now; outlook, foresee: what the past adds;
//	                steps, flap: how much, how often; advice: the adviser's book; scale
//	5 reclaim       reclaim: what is owed; refill: headroom that is a buffer; combine: for all classes of need together; shed:
//	                elastic loans; victims: who gives it; victims_search: what is taken so far; greedy, rivals, exchange: good choices; exact, bound: the
//	                best there is
//	6 reserve       place: what is kept for owners, and where a gang goes
//	7 books         quotas: the trees and limits; booking: who uses what of them
//	8 admission     admit: one job; line: who is considered; pass: which is next; sources,
//	                grant: whose units; name: of the loan; places: of those who wait
//	                guards, guard: reservations
//	                takeback: for quota; fairness: from whom; turns: who may search;
//	                asked: for whom it is kept; promised: what of it may be used meanwhile;
//	                stages: the quotas by promises; home: for those that cannot borrow
//	slices          cards: what cards show; reshapes: changes of layouts, counted as if nothing
//	                had been changed; made: lending what was made; make: having it made; trough:
//	                whether that pays; unmake: what goes back; lawslices: the laws of cards
//	verdicts        verdicts; telling: lists that the last plan had as well
//	tests' judge    laws
package lend
