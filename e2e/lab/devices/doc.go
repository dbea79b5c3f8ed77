// Package devices plays what stands between a node's GPUs and its pods where NVIDIA's
// device plugin runs with the mixed strategy: the plugin, the kubelet's device manager,
// and the container runtime.
//
// It promises what these do. The plugin looks at the GPUs when it starts and not again:
// a changed layout is advertised after Restart, with a gap in which nothing can be
// allocated. A resource that has gone keeps its key with 0. A pod gets devices when it
// is admitted, and has failed if there are none; it keeps them until it has ended. What
// a device is named has been true when the plugin started: a container on an instance
// that is gone does not start. A pod that runs has a process on each of its instances,
// from the moment in which its container starts until it ends.
//
// The kubelet chooses the device: it takes the one that the scheduler wrote down, since
// tests would otherwise show luck, unless the node is Contrary.
//
// Who asks which pod holds what asks a kubelet: its PodResources service is served on a
// Unix socket.
package devices
