// Package kube is what a node's agent knows of the cluster: its own GPUNode, its node
// and the pods on it, and from these who else changes the layouts of the GPUs, which
// pods were promised instances, and whether the device plugin has seen a change.
//
// It promises to read and write only what is of its node. It refuses to look further:
// the agent's rights are for one node.
package kube
