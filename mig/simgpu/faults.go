package simgpu

import (
	"errors"
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// Op is a call of the driver.
type Op string

// The calls. Creating is OpCreateGI and OpCreateCI, destroying is OpDestroyCI and
// OpDestroyGI, repairing is OpCreateCI.
const (
	OpRead      Op = "Read"
	OpCreateGI  Op = "CreateGI"
	OpCreateCI  Op = "CreateCI"
	OpDestroyCI Op = "DestroyCI"
	OpDestroyGI Op = "DestroyGI"
	OpActivity  Op = "Activity"
)

// Code names an error of package device.
type Code string

// The errors that a Fault can give. CodeOther is none that the package has a name for.
const (
	CodeInUse        Code = "InUse"
	CodeNotFound     Code = "NotFound"
	CodeInvalid      Code = "Invalid"
	CodeNoRoom       Code = "NoRoom"
	CodeNotSupported Code = "NotSupported"
	CodeNoPermission Code = "NoPermission"
	CodeLost         Code = "Lost"
	CodeOther        Code = "Other"
)

var codes = map[Code]error{
	CodeInUse: device.ErrInUse, CodeNotFound: device.ErrNotFound, CodeInvalid: device.ErrInvalid,
	CodeNoRoom: device.ErrNoRoom, CodeNotSupported: device.ErrNotSupported,
	CodeNoPermission: device.ErrNoPermission, CodeLost: device.ErrLost,
	CodeOther: errors.New("unknown error"),
}

// Fault is something that goes wrong in a call. Exactly one of Code, Remains and Hang
// says what.
type Fault struct {
	// Op is the call that it hits.
	Op Op `json:"op"`
	// GPU and At narrow it down; empty is any. A fault of OpRead without GPU hits the whole
	// call, one with GPU has that GPU listed as not answering.
	GPU string      `json:"gpu,omitempty"`
	At  *mig.Placed `json:"at,omitempty"`
	// After lets that many calls pass first.
	After int `json:"after,omitempty"`
	// Times it strikes: 0 is once, -1 is until ClearFaults.
	Times int `json:"times,omitempty"`
	// Code is the error that the call returns, without any effect.
	Code Code `json:"code,omitempty"`
	// Remains: OpDestroyCI or OpDestroyGI reports success, and what it should have
	// destroyed is still there.
	Remains bool `json:"remains,omitempty"`
	// Hang: the call returns when the fault is cleared, and not when its context ends. Then
	// it does what it should have done.
	Hang bool `json:"hang,omitempty"`
}

// FailNext has the next call that matches go wrong. Faults strike in the order in which
// they were given.
func (s *Sim) FailNext(f Fault) error {
	if err := f.check(); err != nil {
		return fmt.Errorf("fault: %w", err)
	}
	return s.change(func(t *tx) error {
		if f.Times == 0 {
			f.Times = 1
		}
		t.Faults = append(t.Faults, &f)
		return nil
	})
}

// ClearFaults takes all faults away that have not struck, and lets hung calls go on.
func (s *Sim) ClearFaults() error {
	return s.change(func(t *tx) error { t.Faults = nil; return nil })
}

func (f Fault) check() error {
	ways := 0
	for _, given := range []bool{f.Code != "", f.Remains, f.Hang} {
		if given {
			ways++
		}
	}
	destroys := f.Op == OpDestroyCI || f.Op == OpDestroyGI
	switch {
	case ways != 1:
		return errors.New("give exactly one of code, remains and hang")
	case f.Code != "" && codes[f.Code] == nil:
		return fmt.Errorf("code %q is none", f.Code)
	case f.Hang && f.After != 0:
		return errors.New("after is not for calls that hang")
	case f.Remains && !destroys:
		return fmt.Errorf("remains is for %s and %s, and not for %s", OpDestroyCI, OpDestroyGI, f.Op)
	}
	switch f.Op {
	case OpRead, OpCreateGI, OpCreateCI, OpDestroyCI, OpDestroyGI, OpActivity:
		return nil
	}
	return fmt.Errorf("op %q is none", f.Op)
}

func (f *Fault) hits(op Op, gpu string, at *mig.Placed) bool {
	return f.Op == op && (f.GPU == gpu || f.GPU == "" && op != OpRead) &&
		(f.At == nil || at != nil && *f.At == *at)
}

// outcome is how a call without an error goes wrong.
type outcome struct{ without bool }

// strike uses up the first fault that hits a call.
func (t *tx) strike(op Op, gpu string, at *mig.Placed) (outcome, error) {
	for n, f := range t.Faults {
		if f.Hang || !f.hits(op, gpu, at) {
			continue
		}
		if f.After > 0 {
			f.After--
			continue
		}
		t.use(n)
		if f.Remains {
			return outcome{without: true}, nil
		}
		return outcome{}, fmt.Errorf("GPU %s: %w", gpu, codes[f.Code])
	}
	return outcome{}, nil
}

func (t *tx) use(n int) {
	f := t.Faults[n]
	if f.Times < 0 {
		return
	}
	if f.Times--; f.Times <= 0 {
		t.Faults = append(t.Faults[:n:n], t.Faults[n+1:]...)
	}
}

// hangPoll is how often a hung call looks whether its fault is gone. What clears it may
// be another process, so there is nothing to wait on; and the clock is the real one, as
// whoever injects a clock wants the call to hang all the same.
const hangPoll = 5 * time.Millisecond

var errHangs = errors.New("hangs")

// meet is strike for a call that changes nothing.
func (s *Sim) meet(op Op, gpu string, at *mig.Placed) error {
	for {
		st, err := s.load()
		if err != nil || len(st.Faults) == 0 {
			return err
		}
		if !st.hangs(op, gpu, at) {
			return s.change(func(t *tx) error { _, err := t.strike(op, gpu, at); return err })
		}
		time.Sleep(hangPoll)
	}
}

func (st *state) hangs(op Op, gpu string, at *mig.Placed) bool {
	for _, f := range st.Faults {
		if f.Hang && f.hits(op, gpu, at) {
			return true
		}
	}
	return false
}
