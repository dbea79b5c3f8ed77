// Package dra hands a node's GPUs and slices to pods by Kubernetes' dynamic resource
// allocation: it is the driver gpu.ebbtide.dev.
//
// Each card is published as a set of counters, of its memory slots, compute slices and
// media engines, and each place where an instance may be as a device that draws on them,
// so that the scheduler's allocator never chooses what the board does not allow. An
// instance is made when a claim is prepared and destroyed when the claim is let go. GPUs
// that are not in MIG mode are devices whole.
//
// A card has a layout, which the agent keeps and publishes in the GPUNode: the places
// that are counted, lent, pinned and reshaped, whether an instance is there at the moment
// or not. Devices that are not of it are published with a taint, so that what is
// allocated is what was counted.
//
// It promises that preparing a claim twice gives the same devices, also by another
// process after a crash at any moment, that no instance is made for two claims, and that
// nothing is destroyed that was not made for a claim or taken from the layout for it.
//
// A claim has its place from when it is allocated, also while its pod is not on the node
// yet. A claim whose end the kubelet has not told of is let go when the API server says
// that it is over, and neither a pod nor a process uses what it has.
//
// It refuses to follow a driver's numbering: devices are named by numbers that a GPU
// keeps for as long as the checkpoint lasts, because a claim that is allocated must
// never come to mean another card.
package dra

import "github.com/ebbtide/ebbtide/mig/dra/pool"

// Driver is the name of the driver.
const Driver = pool.Driver
