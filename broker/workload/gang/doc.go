// Package gang makes the jobs of a simulated cluster of what a history says about jobs.
//
// It promises that a job has exactly the GPUs that the history gives it, in equal pods,
// and that whatever is assumed or left out is in the stream's notes: nothing is left out
// in silence. It holds no jobs, so that a history may be longer than memory.
package gang
