package simgpu

import (
	"fmt"
	"slices"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// Shares is how busy an instance is, from 0 to 1.
type Shares struct {
	Graphics float64 `json:"graphics"`
	SM       float64 `json:"sm"`
	Tensor   float64 `json:"tensor"`
	DRAM     float64 `json:"dram"`
}

// SetLatency has calls take that long from now on.
func (s *Sim) SetLatency(l Latency) error {
	return s.change(func(t *tx) error { t.Latency = l; return nil })
}

// SetUnprivileged says whether drivers may write.
func (s *Sim) SetUnprivileged(unprivileged bool) error {
	return s.change(func(t *tx) error { t.Unprivileged = unprivileged; return nil })
}

// SetActivity says how busy an instance is, or the whole GPU if at is nil.
func (s *Sim) SetActivity(gpu string, at *mig.Placed, shares Shares) error {
	return s.onPlace("set activity", gpu, at, func(c *card, i *instance) error {
		if i != nil {
			i.Activity = &shares
		} else {
			c.Activity = &shares
		}
		return nil
	})
}

// Attach starts a process on an instance, or on a GPU with MIG mode off if at is nil.
func (s *Sim) Attach(gpu string, at *mig.Placed, p device.Process) error {
	return s.onPlace("attach a process", gpu, at, func(c *card, i *instance) error {
		switch {
		case i == nil && c.MIG:
			return fmt.Errorf("GPU %s is in MIG mode: %w", gpu, device.ErrNotSupported)
		case i == nil:
			c.Processes = append(c.Processes, p)
			return nil
		case i.CI < 0:
			return fmt.Errorf("no compute instance: %w", device.ErrNotFound)
		}
		i.Processes = append(i.Processes, p)
		return nil
	})
}

// Detach ends a process. What does not run is not there, which is no error: it may have
// gone with a reboot.
func (s *Sim) Detach(gpu string, pid int) error {
	return s.change(func(t *tx) error {
		for _, c := range t.Cards {
			if c.UUID != gpu {
				continue
			}
			c.Processes = without(c.Processes, pid)
			for _, i := range c.Instances {
				i.Processes = without(i.Processes, pid)
			}
		}
		return nil
	})
}

func without(processes []device.Process, pid int) []device.Process {
	return slices.DeleteFunc(processes, func(p device.Process) bool { return p.PID == pid })
}

// Leak has somebody keep a handle to an instance, as monitoring is told to: its compute
// instance can be destroyed, and it cannot. Release lets go of all handles to the GPU.
func (s *Sim) Leak(gpu string, at mig.Placed) error {
	return s.onPlace("leak a handle", gpu, &at, func(_ *card, i *instance) error { i.Leaked = true; return nil })
}

// Release lets go of all handles that were leaked to a GPU's instances.
func (s *Sim) Release(gpu string) error {
	return s.onPlace("release handles", gpu, nil, func(c *card, _ *instance) error {
		for _, i := range c.Instances {
			i.Leaked = false
		}
		return nil
	})
}

// SetProblem has the GPU say that it is not healthy, and why; empty heals it.
func (s *Sim) SetProblem(gpu, problem string) error {
	return s.onPlace("set problem", gpu, nil, func(c *card, _ *instance) error { c.Problem = problem; return nil })
}

// ForeignCreate makes a whole instance, as somebody else on the node might.
func (s *Sim) ForeignCreate(gpu string, at mig.Placed) error {
	return s.foreign("create", gpu, func(t *tx, c *card) error { return t.install(c, []mig.Placed{at}) })
}

// ForeignDestroy destroys an instance, as somebody else on the node might. Processes are
// in its way as they are in everybody's.
func (s *Sim) ForeignDestroy(gpu string, at mig.Placed) error {
	return s.foreign("destroy", gpu, func(t *tx, c *card) error {
		if err := t.destroyCI(c, at, -1, outcome{}); err != nil {
			return err
		}
		return t.destroyGI(c, at, outcome{})
	})
}

// ForeignDestroyCI destroys the compute instance and leaves the GPU instance.
func (s *Sim) ForeignDestroyCI(gpu string, at mig.Placed) error {
	return s.foreign("destroy compute instance", gpu, func(t *tx, c *card) error {
		return t.destroyCI(c, at, -1, outcome{})
	})
}

func (s *Sim) foreign(what, gpu string, fn func(*tx, *card) error) error {
	return s.change(func(t *tx) error {
		t.by = "foreign"
		c, err := t.card(gpu)
		if err == nil && !c.MIG {
			err = device.ErrNotSupported
		}
		if err == nil {
			err = fn(t, c)
		}
		if err != nil {
			return fmt.Errorf("foreign %s on GPU %s: %w", what, gpu, err)
		}
		return nil
	})
}

// Reboot is the node's: all instances, processes, handles and hung calls are gone, MIG
// mode is as it was pending, or off where it does not outlast a reboot. Lost GPUs are
// back; those that were removed are not.
func (s *Sim) Reboot() error {
	return s.change(func(t *tx) error {
		t.by, t.Faults = "reboot", nil
		for _, c := range t.Cards {
			c.Lost, c.Processes, c.Activity = false, nil, nil
			t.loseInstances(c)
			if c.Family != Ampere {
				c.Pending = false
			}
			c.MIG = c.Pending
		}
		return nil
	})
}

// LoseInstances ends all instances of a GPU and what runs on them, as a reset does.
func (s *Sim) LoseInstances(gpu string) error {
	return s.change(func(t *tx) error {
		t.by = "fault"
		c, err := t.card(gpu)
		if err == nil {
			t.loseInstances(c)
		}
		return err
	})
}

func (t *tx) loseInstances(c *card) {
	for _, i := range c.Instances {
		t.log(OpDestroyGI, c.UUID, i.Placed, i, nil)
	}
	c.Instances = nil
}

// Lose has a GPU fall off the bus: it is listed and answers nothing, until Reboot.
func (s *Sim) Lose(gpu string) error {
	return s.onPlace("lose", gpu, nil, func(c *card, _ *instance) error { c.Lost = true; return nil })
}

// Remove takes a GPU out: it is not listed any more, and the numbers of others change.
func (s *Sim) Remove(gpu string) error {
	return s.onPlace("remove", gpu, nil, func(c *card, _ *instance) error { c.Removed = true; return nil })
}

// SetMIG is an administrator's change of MIG mode. It is refused while instances or
// processes are there. On Ampere it is pending until Reboot.
func (s *Sim) SetMIG(gpu string, on bool) error {
	return s.onPlace("set MIG mode", gpu, nil, func(c *card, _ *instance) error {
		if len(c.Instances) > 0 || len(c.Processes) > 0 {
			return fmt.Errorf("GPU %s: %w", gpu, device.ErrInUse)
		}
		c.Pending = on
		if c.Family != Ampere {
			c.MIG = on
		}
		return nil
	})
}

// onPlace changes a GPU, or an instance of it if at is not nil.
func (s *Sim) onPlace(what, gpu string, at *mig.Placed, fn func(*card, *instance) error) error {
	return s.change(func(t *tx) error {
		c, err := t.card(gpu)
		var i *instance
		if err == nil && at != nil {
			i, err = c.at(*at)
		}
		if err == nil {
			err = fn(c, i)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
}
