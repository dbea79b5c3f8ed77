// Package agreement holds the simulator against the real thing: the lab's demo day, which a
// real control plane plays, against the same day in the simulator, by how much was lent and
// how many pods were evicted for it.
//
// The simulator is given what the lab was given, in the lab's own, compressed time: the
// curve of replicas, the load as the broker heard it, the policy objects as it read them, the
// jobs with their graces, exit times and checkpoints, when each was submitted and how they
// stand in line, and the moments at which the broker decided. A compressed day is also made
// of how long the programs themselves take, which the simulator leaves out by design: three
// medians of that are measured in the same day. It is given nothing of what the lab's broker
// decided, only when.
//
// Lent hours are to agree within 5 %, evicted pods within 10 %. The second is not reached:
// the recorded day has 60 pods evicted in the lab and 101 in the simulator. The test fails
// when that becomes more than is declared, and when the target is reached and still declared
// as missed. By reasons, reclaims and the pods that they had:
//
//	                    lab            simulator
//	FairShare           13, 33 pods    50, 61 pods
//	LenderPodPending    16, 25 pods    27, 37 pods
//	NeedRose             3,  3 pods     3,  3 pods
//	CrowdedOut           1,  1 pod      0
//
// (The lab's auditor counts pods that are made to stop, which are two fewer than the reclaims
// had.) Both decide the same until 13 s after the first loan, but for the order of two. Then
// 32 units are returned. The simulator lends them at the same moment, since the broker is to
// decide anew at once; in the lab that decision came a second later. From then on they lend
// to others: where the lab's whole gangs got units that had come together, the simulator has
// given them to small jobs, and with many small loans there are many small steps towards even
// shares, each a reclaim for fairness. With returned units lent only at the next of the lab's
// moments it is 91 pods, and 3.7 % fewer hours than in the lab.
//
// What is not the cause: constants, which are the same, and the memory of past use in shares,
// which the simulator leaves out: with it no fewer are evicted. Nor is it the moments alone:
// with all of them up to 100 ms sooner or later, it is 97 to 108 pods. Two things are known
// and not modelled: units of a job whose pods have ended are free to replicas in the lab
// before the loan is returned, and programs take another time each time, not the median.
//
// Recording takes a whole day in the lab, which is minutes; what was recorded is in
// testdata, with what came of it, and is played in every test.
//
// The files:
//
//	day: inputs and outcome    record: reading them off a lab    play: the same in the simulator
package agreement
