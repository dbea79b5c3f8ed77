// Package trace runs a program and records what it does to one file: every write with its
// data, every change of size, every sync, and in between what it said on its standard
// output. It can let the n-th such call fail with an error of one's choice.
//
// It does so with ptrace, on Linux on amd64, and needs no rights but those over its own
// children; elsewhere, and where ptrace is forbidden, Run fails with ErrUnavailable. It is
// complete or it fails: a call that could change the file in a way that it does not record
// (vectored writes, shared writable maps, io_uring and the like) ends the run with an error.
package trace

import (
	"errors"
	"syscall"
)

// ErrUnavailable: this machine does not let programs be traced.
var ErrUnavailable = errors.New("programs cannot be traced here")

// Call is a kind of system call.
type Call uint8

// The calls that are recorded. Said is a write to standard output.
const (
	Write Call = iota
	Truncate
	Sync
	Said
)

// String is the call's name.
func (c Call) String() string { return [...]string{"write", "truncate", "sync", "said"}[c] }

// Op is one call, in the order in which they began; a Sync stands where it ended, since
// only then it is known to have done anything.
type Op struct {
	Call Call
	// Off is where a Write goes, and the new size of a Truncate.
	Off int64
	// Data of a Write, as far as it was written, or what was Said.
	Data []byte
	// Err is the error that the program got; 0 if none.
	Err syscall.Errno
}

// Fault lets the Nth call of a kind, counted from 1, fail. The call is not made.
type Fault struct {
	On    Call
	Nth   int
	Errno syscall.Errno
}

// Record is what a program did.
type Record struct {
	Ops []Op
	// Faulted tells whether the fault came about.
	Faulted bool
	// Exit is the program's exit code, or -1 if a signal ended it.
	Exit int
	// Stderr is what it wrote there.
	Stderr string
}

// Count is the number of calls of a kind that succeeded.
func (r *Record) Count(call Call) int {
	n := 0
	for _, op := range r.Ops {
		if op.Call == call && op.Err == 0 {
			n++
		}
	}
	return n
}
