//go:build linux && cgo

package nvml

import (
	"errors"
	"fmt"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// How long it takes until a driver that has gone is looked for again, and until it is
// opened anew for a GPU that is lost: first, and at most. Opening it anew interrupts what
// is measured of the other GPUs.
const (
	goneDelay     = time.Second
	goneMostDelay = 30 * time.Second
	lostDelay     = 30 * time.Second
	lostMostDelay = 10 * time.Minute
)

// session is whether the library may be called.
type session struct {
	// closed is why it may not: any call but Init would end the process. nil: it may.
	closed error
	// again is when the driver is opened next, after delay: while it is closed, or for GPUs
	// that are lost.
	again time.Time
	delay time.Duration
}

// putOff has the driver opened again later than the last time.
func (s *session) putOff(now time.Time, first, most time.Duration) {
	s.delay = min(max(2*s.delay, first), most)
	s.again = now.Add(s.delay)
}

// start opens the library and looks what it has.
func (d *Driver) start() error {
	if r := d.lib.Init(); r != nvml.SUCCESS {
		return fmt.Errorf("%w: %s", ErrUnavailable, initProblem(r))
	}
	for _, symbol := range required {
		if err := d.lib.Extensions().LookupSymbol(symbol); err != nil {
			_ = d.lib.Shutdown() // the other error says why
			return fmt.Errorf("%w: its library lacks %s, which drivers have from R470 on", ErrUnavailable, symbol)
		}
	}
	for _, symbol := range optional {
		d.has[symbol] = d.lib.Extensions().LookupSymbol(symbol) == nil
	}
	return nil
}

// ready opens the driver again that has gone, when it is time. It comes before any call.
func (d *Driver) ready() error {
	switch now := d.now(); {
	case d.closed == nil:
		return nil
	case now.Before(d.again):
		return d.closed
	default:
		err := d.start()
		if d.closed = err; err != nil {
			d.putOff(now, goneDelay, goneMostDelay)
		} else {
			d.session = session{}
		}
		return err
	}
}

// failed returns err, and lets go of the driver if that says that it has gone.
func (d *Driver) failed(err error) error {
	if !errors.Is(err, ErrUnavailable) {
		return err
	}
	_ = d.stop() // it has gone already
	for _, c := range d.cards {
		c.xid = 0 // a driver that is loaded anew resets the GPUs
	}
	d.session = session{closed: err}
	d.putOff(d.now(), goneDelay, goneMostDelay)
	return err
}

// reopen opens the driver anew now and then while GPUs are lost: one that was reset or put
// back on the bus answers by new handles only. The errors of the others still count.
func (d *Driver) reopen(lost bool) {
	now := d.now()
	switch {
	case !lost:
		d.session = session{}
		return
	case d.delay == 0:
		d.putOff(now, lostDelay, lostMostDelay)
		return
	case now.Before(d.again):
		return
	}
	for _, c := range d.cards {
		if c.lost {
			c.xid = 0
		}
	}
	_ = d.stop() // opening it says what it is
	if err := d.start(); err != nil {
		d.session = session{closed: err}
		d.putOff(now, goneDelay, goneMostDelay)
		return
	}
	d.putOff(now, lostDelay, lostMostDelay)
}

// stop closes the library. What the GPUs are is kept, and no handle of theirs.
func (d *Driver) stop() error {
	for _, c := range d.cards {
		c.forgetSamples()
		c.handle, c.geometry, c.watched = nil, nil, false
	}
	if d.events != nil {
		_ = d.events.Free() // the library lets go of it at the latest
		d.events = nil
	}
	return refusal("let go of the driver", d.lib.Shutdown())
}
