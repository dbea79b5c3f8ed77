package simgpu

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// Create makes a GPU instance and its compute instance.
func (s *Sim) Create(ctx context.Context, gpu string, at mig.Placed) (device.Instance, error) {
	if err := ctx.Err(); err != nil {
		return device.Instance{}, err
	}
	if err := s.step(OpCreateGI, gpu, at, func(t *tx, c *card, _ outcome) error { return t.createGI(c, at) }); err != nil {
		return device.Instance{}, fmt.Errorf("create GPU instance: %w", err)
	}
	made, err := s.createCI(gpu, at)
	if err != nil {
		// The GPU instance is of no use alone. Where it cannot be destroyed it stays.
		undo := s.step(OpDestroyGI, gpu, at, func(t *tx, c *card, o outcome) error { return t.destroyGI(c, at, o) })
		return device.Instance{}, errors.Join(fmt.Errorf("create compute instance: %w", err), undo)
	}
	return made, nil
}

// Destroy ends the compute instance and then the GPU instance.
func (s *Sim) Destroy(ctx context.Context, gpu string, at mig.Placed, gi int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.step(OpDestroyCI, gpu, at, func(t *tx, c *card, o outcome) error { return t.destroyCI(c, at, gi, o) })
	if err != nil {
		return fmt.Errorf("destroy compute instance: %w", err)
	}
	err = s.step(OpDestroyGI, gpu, at, func(t *tx, c *card, o outcome) error { return t.destroyGI(c, at, o) })
	if err != nil {
		return fmt.Errorf("destroy GPU instance: %w", err)
	}
	return nil
}

// Repair makes the compute instance of a GPU instance that has none.
func (s *Sim) Repair(ctx context.Context, gpu string, at mig.Placed) (device.Instance, error) {
	if err := ctx.Err(); err != nil {
		return device.Instance{}, err
	}
	made, err := s.createCI(gpu, at)
	if err != nil {
		return device.Instance{}, fmt.Errorf("create compute instance: %w", err)
	}
	return made, nil
}

func (s *Sim) createCI(gpu string, at mig.Placed) (made device.Instance, err error) {
	err = s.step(OpCreateCI, gpu, at, func(t *tx, c *card, _ outcome) error {
		i, err := t.createCI(c, at)
		if err == nil {
			made = i.describe()
		}
		return err
	})
	return made, err
}

// step is one call of the driver: it takes its time, may be hit by a fault, and then
// has its effect at once.
func (s *Sim) step(op Op, gpu string, at mig.Placed, effect func(*tx, *card, outcome) error) error {
	st, err := s.load()
	if err != nil {
		return err
	}
	s.sleep(st.Latency.of(op))
	for hung := false; ; hung = true {
		again := false
		err := s.change(func(t *tx) error {
			if again = t.hangs(op, gpu, &at); again {
				if !hung {
					t.log(op, gpu, at, nil, errHangs)
				}
				return nil
			}
			err := t.call(op, gpu, at, effect)
			if err != nil {
				t.log(op, gpu, at, nil, err)
			}
			return err
		})
		if !again || err != nil {
			return err
		}
		time.Sleep(hangPoll)
	}
}

// call is a step that does not hang.
func (t *tx) call(op Op, gpu string, at mig.Placed, effect func(*tx, *card, outcome) error) error {
	o, err := t.strike(op, gpu, &at)
	if err != nil {
		return err
	}
	c, err := t.card(gpu)
	switch {
	case err != nil:
		return err
	case !c.MIG:
		return fmt.Errorf("MIG mode of GPU %s is off: %w", gpu, device.ErrNotSupported)
	case t.Unprivileged:
		return fmt.Errorf("GPU %s: %w", gpu, device.ErrNoPermission)
	}
	return effect(t, c, o)
}

func (l Latency) of(op Op) time.Duration {
	switch op {
	case OpCreateGI:
		return l.CreateGI
	case OpCreateCI:
		return l.CreateCI
	case OpDestroyCI:
		return l.DestroyCI
	case OpDestroyGI:
		return l.DestroyGI
	}
	return l.Read
}

// install makes a whole instance without asking anybody.
func (t *tx) install(c *card, layout []mig.Placed) error {
	for _, at := range layout {
		if err := t.createGI(c, at); err != nil {
			return err
		}
		if _, err := t.createCI(c, at); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) createGI(c *card, at mig.Placed) error {
	p, err := c.place(at)
	if err != nil {
		return err
	}
	if err := c.room(at, p); err != nil {
		return err
	}
	t.Serial++
	i := &instance{Placed: at, GI: c.number(at.Start, p.Memory), CI: -1, Serial: t.Serial}
	c.Instances = append(c.Instances, i)
	t.log(OpCreateGI, c.UUID, at, i, nil)
	return nil
}

func (t *tx) createCI(c *card, at mig.Placed) (*instance, error) {
	i, err := c.at(at)
	if err != nil {
		return nil, err
	}
	if i.CI >= 0 {
		return nil, fmt.Errorf("compute instance %d is there: %w", i.CI, device.ErrNoRoom)
	}
	i.CI, i.UUID = 0, c.migUUID(i.GI, i.Serial)
	t.log(OpCreateCI, c.UUID, at, i, nil)
	return i, nil
}

// destroyCI succeeds where there is none, so that what was left half done can go.
func (t *tx) destroyCI(c *card, at mig.Placed, gi int, o outcome) error {
	i, err := c.at(at)
	if err != nil {
		return err
	}
	if gi >= 0 && gi != i.GI {
		return fmt.Errorf("the GPU instance there is %d and not %d: %w", i.GI, gi, device.ErrNotFound)
	}
	if i.CI < 0 {
		return nil
	}
	if len(i.Processes) > 0 {
		return fmt.Errorf("%d processes: %w", len(i.Processes), device.ErrInUse)
	}
	if !o.without {
		i.CI, i.UUID, i.Activity = -1, "", nil
	}
	t.log(OpDestroyCI, c.UUID, at, i, nil)
	return nil
}

func (t *tx) destroyGI(c *card, at mig.Placed, o outcome) error {
	i, err := c.at(at)
	if err != nil {
		return err
	}
	if i.CI >= 0 || i.Leaked {
		return fmt.Errorf("GPU instance %d: %w", i.GI, device.ErrInUse)
	}
	t.log(OpDestroyGI, c.UUID, at, i, nil)
	if o.without {
		return nil
	}
	for n := range c.Instances {
		if c.Instances[n] == i {
			c.Instances = append(c.Instances[:n], c.Instances[n+1:]...)
			break
		}
	}
	return nil
}
