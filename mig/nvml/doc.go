// Package nvml asks NVIDIA's driver, by its management library, what a node's GPUs are
// and how they are cut, and cuts them anew.
//
// It promises that a missing driver is an error and nothing worse: the library is loaded
// when the driver is opened, no call is made unless that succeeded, and functions that
// older libraries lack are looked up before they are called, where a call of one that is
// missing would end the process. It goes by what the driver says of a board, profiles
// that this program does not know included, and finds instances profile by profile, so
// that those without a compute instance, which the list of MIG devices leaves out, are
// seen. What could not be read is unknown, and never none: the processes on an
// instance are not known in a PID namespace of its own, where drivers leave some out or
// give them other numbers.
//
// A driver that is unloaded and loaded again, or updated, is opened again when it is
// there, and until then every call says that it is not. One is opened anew also while a
// GPU is lost, less and less often: after a reset a GPU answers by new handles only.
//
// While it is open the driver counts as used: an administrator who changes MIG mode
// ends the program first. Reading instances takes the rights of root.
//
// It refuses to change MIG mode, to create instances without a place, to resolve
// instances by index or by UUID, which the driver gives out again, and to run other
// programs.
//
// Builds without cgo or for another system than Linux have Open, which says that there
// is no driver.
package nvml
