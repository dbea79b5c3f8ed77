// Package trial plays one policy in one town, watches what results of the simulator do not
// tell, and says what came of it as a row of a table.
//
// It guarantees that watching changes nothing: a policy that is watched sees the same world
// and does the same. The time that decisions take is for the eyes of who runs the trial; no
// row has it.
//
//	trial: playing, and watching      row: what is told, and compared with what
package trial
