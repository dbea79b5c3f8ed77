// Package gpunodes reads GPUNodes, which the nodes' agents write, as what a decision
// needs: cards with the uses of their instances, changes of layouts and how far they are,
// and the places to keep for services.
//
// It promises that what it reads of a spec is never older than what this process has
// written, that an instance is Idle only if the agent was heard from lately, knows of no
// holder and of no process, and nobody was promised it, and that a place is kept where
// services' pods are before it is kept where it would leave more. It refuses to judge
// what may be lent or reshaped.
package gpunodes
