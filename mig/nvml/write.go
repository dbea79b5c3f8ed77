//go:build linux && cgo

package nvml

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// Create makes a GPU instance at the place and its compute instance.
func (d *Driver) Create(ctx context.Context, gpu string, at mig.Placed) (device.Instance, error) {
	if err := ctx.Err(); err != nil {
		return device.Instance{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c, p, err := d.profile(gpu, at)
	if err != nil {
		return device.Instance{}, err
	}
	what := fmt.Sprintf("%s at %d of GPU %s", p.Name, at.Start, gpu)
	info, r := c.handle.GetGpuInstanceProfileInfo(int(at.Profile))
	if r != nvml.SUCCESS {
		return device.Instance{}, refusal("read profile "+p.Name, r)
	}
	place := nvml.GpuInstancePlacement{Start: uint32(at.Start), Size: uint32(p.Memory)}
	gi, r := c.handle.CreateGpuInstanceWithPlacement(&info, &place)
	if r != nvml.SUCCESS {
		return device.Instance{}, refusal("create GPU instance "+what, r)
	}
	c.forgetSamples()
	made, err := d.complete(gi, p)
	if err == nil && made.Placed != at {
		err = fmt.Errorf("the driver put it at %d", made.Start)
	}
	if err != nil {
		// It is of no use as it is. If it cannot be destroyed it stays, and will be read.
		return device.Instance{}, errors.Join(fmt.Errorf("create %s: %w", what, err), d.takeDown(gi, p))
	}
	return made, nil
}

// Repair makes the compute instance of a GPU instance that has none.
func (d *Driver) Repair(ctx context.Context, gpu string, at mig.Placed) (device.Instance, error) {
	if err := ctx.Err(); err != nil {
		return device.Instance{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, h, p, err := d.locate(gpu, at)
	if err != nil {
		return device.Instance{}, err
	}
	if len(h.cis) > 0 {
		return device.Instance{}, fmt.Errorf("GPU instance %d has a compute instance: %w", h.seen.GI, device.ErrNoRoom)
	}
	made, err := d.complete(h.gi, p)
	if err != nil {
		return device.Instance{}, fmt.Errorf("repair GPU instance %d: %w", h.seen.GI, err)
	}
	return made, nil
}

// Destroy ends the compute instances at the place and then the GPU instance, and looks
// that it is gone.
func (d *Driver) Destroy(ctx context.Context, gpu string, at mig.Placed, gi int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c, h, p, err := d.locate(gpu, at)
	if err != nil {
		return err
	}
	if gi >= 0 && gi != h.seen.GI {
		return fmt.Errorf("the GPU instance at %d is %d and not %d: %w", at.Start, h.seen.GI, gi, device.ErrNotFound)
	}
	c.forgetSamples()
	if err := destroy(h); err != nil {
		return err
	}
	left, err := d.instancesOf(c, p)
	if err != nil {
		return err
	}
	for _, other := range left {
		if other.seen.Placed == at {
			return fmt.Errorf("GPU instance %d was reported to be destroyed and is still listed: %w", h.seen.GI, device.ErrInUse)
		}
	}
	return nil
}

// destroy ends an instance from the inside out. What went meanwhile is gone.
func destroy(h held) error {
	for _, ci := range h.cis {
		if r := ci.Destroy(); r != nvml.SUCCESS && r != nvml.ERROR_NOT_FOUND {
			return refusal(fmt.Sprintf("destroy a compute instance of GPU instance %d", h.seen.GI), r)
		}
	}
	if r := h.gi.Destroy(); r != nvml.SUCCESS && r != nvml.ERROR_NOT_FOUND {
		return refusal(fmt.Sprintf("destroy GPU instance %d", h.seen.GI), r)
	}
	return nil
}

// complete makes the compute instance that spans a GPU instance, and describes both.
func (d *Driver) complete(gi nvml.GpuInstance, p mig.Profile) (device.Instance, error) {
	number, ok := computeProfiles[p.Compute]
	if !ok {
		return device.Instance{}, fmt.Errorf("no compute instance of %d slices is known: %w", p.Compute, device.ErrNotSupported)
	}
	info, r := gi.GetComputeInstanceProfileInfo(number, nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)
	if r != nvml.SUCCESS {
		return device.Instance{}, refusal("read the compute instance profile", r)
	}
	if _, r := gi.CreateComputeInstance(&info); r != nvml.SUCCESS {
		return device.Instance{}, refusal("create the compute instance", r)
	}
	h, err := d.describeGI(gi, p)
	return h.seen, err
}

// takeDown destroys a GPU instance that was just made.
func (d *Driver) takeDown(gi nvml.GpuInstance, p mig.Profile) error {
	h, err := d.describeGI(gi, p)
	if err != nil {
		return err
	}
	return destroy(h)
}

// profile finds a GPU and a profile that it has at the place.
func (d *Driver) profile(gpu string, at mig.Placed) (*card, mig.Profile, error) {
	c, err := d.card(gpu)
	if err != nil {
		return nil, mig.Profile{}, err
	}
	if c.geometry == nil {
		if g, _ := d.read(c); g.Geometry == nil { // it says itself why
			return nil, mig.Profile{}, d.noGeometry(g)
		}
	}
	if p, ok := c.geometry.Profile(at.Profile); ok && slices.Contains(p.Starts, at.Start) {
		return c, p, nil
	}
	return nil, mig.Profile{}, fmt.Errorf("profile %d at %d of GPU %s: %w", at.Profile, at.Start, gpu, device.ErrInvalid)
}

// noGeometry says why a GPU offers no profiles.
func (d *Driver) noGeometry(g device.GPU) error {
	if !g.Healthy {
		return fmt.Errorf("GPU %s: %s: %w", g.UUID, g.Problem, device.ErrLost)
	}
	return fmt.Errorf("GPU %s has no MIG: %w", g.UUID, device.ErrNotSupported)
}

// locate finds the instance at a place.
func (d *Driver) locate(gpu string, at mig.Placed) (*card, held, mig.Profile, error) {
	c, p, err := d.profile(gpu, at)
	if errors.Is(err, device.ErrInvalid) {
		// Nothing can be where nothing is allowed.
		err = fmt.Errorf("profile %d at %d of GPU %s: %w", at.Profile, at.Start, gpu, device.ErrNotFound)
	}
	if err != nil {
		return nil, held{}, p, err
	}
	all, err := d.instancesOf(c, p)
	if err != nil {
		return nil, held{}, p, err
	}
	for _, h := range all {
		if h.seen.Placed == at {
			return c, h, p, nil
		}
	}
	return nil, held{}, p, fmt.Errorf("%s at %d of GPU %s: %w", p.Name, at.Start, gpu, device.ErrNotFound)
}
