// Package agent is what runs on every node with GPUs that are cut into slices: it
// publishes what is there as the node's GPUNode, and changes layouts as the broker
// asks, and back.
//
// It promises that nothing is destroyed that a pod holds, that a process is on, that is
// pinned, or that it did not make or find at its first start; that a change which
// cannot be carried out is taken back; and that after a crash at any step the change
// comes to its end or is taken back, by the journal and by what the GPUs say. What
// could not be read is unknown, and unknown is as good as in use.
//
// It refuses to write where another program cuts the GPUs, to write with a journal that
// is not as it was written, and to change MIG mode at all. What it does not know it
// reports as foreign, and leaves alone.
//
// One round reads the GPUs, the pods that hold them and the GPUNode, compares them with
// the journal, does what is due one step at a time, and publishes. Steps are chosen by
// what is there and not by what was done before, so that a round after a crash is one
// like any other:
//
//	          destroy what is to go          create what is to come      advertise
//	Making ──────────────────────────►──────────────────────────────►──────────────► Made
//	   │  cannot                                                                      │ undo
//	   ▼                                                                              ▼
//	Refused ◄── advertise ◄── create what was there ◄── destroy what was made ── Undoing ──► Undone
//
// Whatever may not be done twice is written down before (the step) and after (what came
// of it); the points between are named in Failpoints.
package agent
