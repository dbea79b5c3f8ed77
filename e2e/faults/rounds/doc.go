// Package rounds breaks a running Ebbtide, round by round, and has each judged.
//
// One lab stands for all rounds: a control plane, a broker and a scheduler that were built
// with failpoints, a service whose load rises and falls, and jobs that come and go. A round
// moves the load, so that units are lent or taken back, and breaks something meanwhile:
//
//   - SIGKILL of the broker or the scheduler where it stands after a numbered step of lending,
//     reclaiming, taking back or starting, up to three starts deep
//   - SIGKILL of the broker, the scheduler, the API server or etcd at any moment
//   - SIGSTOP of any of them for longer than the broker's Lease lasts, and SIGCONT
//   - the ledger's file destroyed while the broker is down
//   - a node that falls silent and returns, and a pod that never ends
//
// Then nothing is moved any more, and the state must be as it should be within 30 seconds
// and stay so. What is broken in which round follows from the seed alone; the moments at
// which processes meet do not.
//
// It refuses to judge: judges do, and none of them shares code with what they judge.
package rounds
