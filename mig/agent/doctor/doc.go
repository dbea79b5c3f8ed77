// Package doctor examines whether a node keeps pods from GPUs that they were not given:
// the versions of NVIDIA's driver and container toolkit, the settings of its container
// runtime, and whether the cluster refuses what those settings leave open.
//
// It promises to say of each check what was found, and what to do about it. It refuses
// to take for granted what it could not read: a check without an answer is unknown, and
// nothing is lent on a node with one, unless an administrator accepts the check by its
// name.
package doctor
