// Package exported reads the job histories that clusters give away: Kubernetes Jobs, Kueue
// Workloads, Volcano jobs and pod groups as kubectl prints them, and Slurm's accounting.
//
// These come in no order and tell of one job in several places, so that a whole export is
// read before its first job is given; of each job only a few numbers are kept.
//
// It promises that a job that never ran, or of which an export does not say how long, is
// left out and counted in the notes, never guessed.
package exported
