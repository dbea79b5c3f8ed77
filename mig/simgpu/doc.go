// Package simgpu simulates GPUs that can be cut into slices, with no hardware behind
// them: a device.Driver, and beside it what an administrator, other programs and bad
// luck do to real ones.
//
// It promises the semantics of the hardware and not of what stands above it: the
// placements that a board allows and the errors for those it does not, numbers and
// UUIDs that come back for other instances, compute instances and GPU instances that
// come and go one after the other and may be left half done, refusals while processes or
// leaked handles are there, instances that are lost by a reboot. What a caller does
// wrong is refused where the hardware refuses it, and succeeds where that does.
//
// The state is in a folder, so that it survives the process which uses it, as a GPU
// does, and all that open the folder see the same GPUs: an agent that is killed and
// started again, whoever plays the kubelet, and a test that injects faults. A call that
// takes time takes it before its effect, without holding the state: a process that is
// killed in a call leaves the state as it was before or after one step of it.
//
// It refuses to be fast or to hold many GPUs: each call reads and writes the whole state
// of the folder. A node's eight cards are what it is made for.
package simgpu
