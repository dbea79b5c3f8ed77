package agent

import (
	"context"
	"errors"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// readActivity measures how busy instances and GPUs are, once in a heartbeat. What
// cannot be measured is left out.
func (a *Agent) readActivity(ctx context.Context) {
	now := a.o.Clock.Now()
	if a.activity != nil && now.Sub(a.activeAt) < a.o.Heartbeat {
		return
	}
	a.activeAt = now
	a.activity = map[ActivityKey]device.Activity{}
	var gpus []string
	for _, g := range a.seen.gpus {
		if !g.Healthy {
			continue
		}
		gpus = append(gpus, g.UUID)
		if !g.MIG {
			a.measure(ctx, ActivityKey{g.UUID, -1}, nil)
		}
		for _, i := range g.Instances {
			if i.CI >= 0 {
				a.measure(ctx, ActivityKey{g.UUID, i.GI}, &i.Placed)
			}
		}
	}
	if a.o.Activities == nil || len(gpus) == 0 {
		return
	}
	others, err := a.o.Activities.Activity(ctx, gpus)
	if err != nil {
		a.o.Log.V(2).Info("Activity is not known", "error", err.Error())
	}
	for key, x := range others {
		if have := a.activity[key]; have.Graphics == nil {
			x.MemoryUsedMiB = have.MemoryUsedMiB
			a.activity[key] = x
		}
	}
}

func (a *Agent) measure(ctx context.Context, key ActivityKey, at *mig.Placed) {
	x, err := a.o.Driver.Activity(ctx, key.GPU, at)
	if err == nil {
		a.activity[key] = x
	} else if !errors.Is(err, device.ErrNotSupported) {
		a.o.Log.V(4).Info("Activity could not be measured", "gpu", key.GPU, "gi", key.GI, "error", err.Error())
	}
}
