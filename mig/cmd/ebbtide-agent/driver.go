package main

import (
	"context"
	"sync"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/nvml"
)

// lazyDriver opens NVIDIA's driver when it is first asked, and again until it is there:
// on a fresh node it comes after the agent.
type lazyDriver struct {
	mu   sync.Mutex
	gpus nvml.GPUs
}

func (d *lazyDriver) open() (nvml.GPUs, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gpus == nil {
		gpus, err := nvml.Open()
		if err != nil {
			return nil, err
		}
		d.gpus = gpus
	}
	return d.gpus, nil
}

// Close lets go of the driver, if it was there.
func (d *lazyDriver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gpus == nil {
		return nil
	}
	return d.gpus.Close()
}

func (d *lazyDriver) Read(ctx context.Context) ([]device.GPU, error) {
	gpus, err := d.open()
	if err != nil {
		return nil, err
	}
	return gpus.Read(ctx)
}

func (d *lazyDriver) Create(ctx context.Context, gpu string, at mig.Placed) (device.Instance, error) {
	gpus, err := d.open()
	if err != nil {
		return device.Instance{}, err
	}
	return gpus.Create(ctx, gpu, at)
}

func (d *lazyDriver) Destroy(ctx context.Context, gpu string, at mig.Placed, gi int) error {
	gpus, err := d.open()
	if err != nil {
		return err
	}
	return gpus.Destroy(ctx, gpu, at, gi)
}

func (d *lazyDriver) Repair(ctx context.Context, gpu string, at mig.Placed) (device.Instance, error) {
	gpus, err := d.open()
	if err != nil {
		return device.Instance{}, err
	}
	return gpus.Repair(ctx, gpu, at)
}

func (d *lazyDriver) Activity(ctx context.Context, gpu string, at *mig.Placed) (device.Activity, error) {
	gpus, err := d.open()
	if err != nil {
		return device.Activity{}, err
	}
	return gpus.Activity(ctx, gpu, at)
}

func (d *lazyDriver) Describe(ctx context.Context) (device.Facts, error) {
	gpus, err := d.open()
	if err != nil {
		return device.Facts{}, err
	}
	return gpus.Describe(ctx)
}
