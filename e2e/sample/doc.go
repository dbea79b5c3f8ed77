// Package sample is a training program that does what a job should do whose units can
// be taken back: the smallest one that really learns something.
//
// It fits a logistic regression by stochastic gradient descent to data that it draws
// from a seed. It promises that
//   - the model after its last step is the same, bit by bit, however often it was
//     stopped on the way, since all chance in a step depends on the seed and the step's
//     number alone;
//   - a checkpoint is whole: who reads the file sees the last one or the one before;
//   - on SIGTERM it finishes no further step, saves, and ends with [ExitStopped];
//   - when it is told that its units will be taken back, by the downward API or by
//     HTTP, it saves at once and goes on until it is stopped.
//
// All it does it writes into a journal, from which can be read what a stop cost.
//
// It uses the standard library only, and knows nothing of the cluster but the files
// and variables that every pod can have.
package sample
