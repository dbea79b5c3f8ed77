//go:build linux && cgo

package nvml

import (
	"context"
	"math"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// leastInterval is how far apart two samples must be to be compared.
const leastInterval = 100 * time.Millisecond

// sample is the driver's counters at one moment.
type sample struct {
	counters nvml.GpmSample
	at       time.Time
	// last is what came out of the comparison before.
	last device.Activity
}

// wholeGPU stands for a GPU instance where there is none.
const wholeGPU = -1

// Activity compares the driver's counters with those of the call before. Calls that
// come within a tenth of a second of each other get the same answer.
func (d *Driver) Activity(ctx context.Context, gpu string, at *mig.Placed) (device.Activity, error) {
	if err := ctx.Err(); err != nil {
		return device.Activity{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if at == nil {
		c, err := d.card(gpu)
		if err != nil {
			return device.Activity{}, err
		}
		return d.activity(c, wholeGPU, c.handle)
	}
	c, h, _, err := d.locate(gpu, *at)
	if err != nil {
		return device.Activity{}, err
	}
	if len(h.cis) == 0 {
		return device.Activity{}, nil
	}
	info, r := h.cis[0].GetInfo()
	if r != nvml.SUCCESS {
		return device.Activity{}, refusal("read a compute instance", r)
	}
	return d.activity(c, h.seen.GI, info.Device)
}

// activity of a GPU or an instance, whose device is on.
func (d *Driver) activity(c *card, gi int, on nvml.Device) (device.Activity, error) {
	a, err := d.gpm(c, gi)
	if err != nil {
		return device.Activity{}, err
	}
	if gi == wholeGPU && a.Graphics == nil && !c.last.MIG && d.has[symbolUtilization] {
		if u, r := on.GetUtilizationRates(); r == nvml.SUCCESS {
			a.Graphics, a.Source = share(float64(u.Gpu)), "nvml"
		}
	}
	if memory, r := on.GetMemoryInfo(); r == nvml.SUCCESS {
		used := int64(memory.Used >> 20)
		a.MemoryUsedMiB = &used
		if a.Source == "" {
			a.Source = "nvml"
		}
	}
	return a, nil
}

// gpm samples the counters that GPUs have from Hopper on. Without them nothing is
// available, which is no error.
func (d *Driver) gpm(c *card, gi int) (device.Activity, error) {
	if !d.has[symbolGPM] {
		return device.Activity{}, nil
	}
	before := c.samples[gi]
	if before != nil && d.now().Sub(before.at) < leastInterval {
		return before.last, nil
	}
	if support, r := c.handle.GpmQueryDeviceSupport(); r != nvml.SUCCESS || support.IsSupportedDevice == 0 {
		return device.Activity{}, nil
	}
	after, r := d.take(c, gi)
	if r == nvml.ERROR_NOT_SUPPORTED {
		return device.Activity{}, nil
	}
	if r != nvml.SUCCESS {
		return device.Activity{}, refusal("sample the activity", r)
	}
	c.samples[gi] = after
	if before == nil {
		return device.Activity{}, nil
	}
	defer before.free()
	if r := d.compare(before, after); r != nvml.SUCCESS {
		return device.Activity{}, refusal("compare two samples of the activity", r)
	}
	return after.last, nil
}

func (d *Driver) take(c *card, gi int) (*sample, nvml.Return) {
	counters, r := d.lib.GpmSampleAlloc()
	if r != nvml.SUCCESS {
		return nil, r
	}
	if gi == wholeGPU {
		r = counters.Get(c.handle)
	} else {
		r = counters.MigGet(c.handle, gi)
	}
	if r != nvml.SUCCESS {
		(&sample{counters: counters}).free()
		return nil, r
	}
	return &sample{counters: counters, at: d.now()}, r
}

// free lets go of the counters. What the driver says to that changes nothing.
func (s *sample) free() { _ = s.counters.Free() }

// compare fills in what happened up to the second sample.
func (d *Driver) compare(before, after *sample) nvml.Return {
	a := &after.last
	metrics := []struct {
		id   nvml.GpmMetricId
		into **float64
	}{
		{nvml.GPM_METRIC_GRAPHICS_UTIL, &a.Graphics}, {nvml.GPM_METRIC_SM_UTIL, &a.SM},
		{nvml.GPM_METRIC_ANY_TENSOR_UTIL, &a.Tensor}, {nvml.GPM_METRIC_DRAM_BW_UTIL, &a.DRAM},
	}
	get := nvml.GpmMetricsGetType{NumMetrics: uint32(len(metrics)), Sample1: before.counters, Sample2: after.counters}
	for n, m := range metrics {
		get.Metrics[n].MetricId = uint32(m.id)
	}
	if r := d.lib.GpmMetricsGet(&get); r != nvml.SUCCESS {
		return r
	}
	for n, m := range metrics {
		if nvml.Return(get.Metrics[n].NvmlReturn) == nvml.SUCCESS {
			*m.into = share(get.Metrics[n].Value)
			a.Source = "gpm"
		}
	}
	return nvml.SUCCESS
}

// share makes a share of a percentage; nil if it is none.
func share(percent float64) *float64 {
	if math.IsNaN(percent) || math.IsInf(percent, 0) || percent < 0 {
		return nil
	}
	s := min(percent/100, 1)
	return &s
}

// forgetSamples lets go of what was sampled: a number may belong to another instance.
func (c *card) forgetSamples() {
	for gi, s := range c.samples {
		s.free()
		delete(c.samples, gi)
	}
}
