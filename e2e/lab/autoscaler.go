package lab

import (
	"strconv"
	"time"
)

// Autoscaler configures the HorizontalPodAutoscaler controller of
// kube-controller-manager. What is zero is as Kubernetes has it by default.
type Autoscaler struct {
	// SyncPeriod is how often each autoscaler is looked at (15 s).
	SyncPeriod time.Duration
	// DownscaleStabilization is for autoscalers that do not say it themselves (5 m).
	DownscaleStabilization time.Duration
	// Tolerance is how far the ratio of a metric to its target may be from 1 before
	// anything is done (0.1).
	Tolerance float64
}

func (a *Autoscaler) controllers() []string {
	if a == nil {
		return nil
	}
	return []string{"horizontal-pod-autoscaler-controller"}
}

func (a *Autoscaler) args() []string {
	if a == nil {
		return nil
	}
	var args []string
	if a.SyncPeriod != 0 {
		args = append(args, "--horizontal-pod-autoscaler-sync-period="+a.SyncPeriod.String())
	}
	if a.DownscaleStabilization != 0 {
		args = append(args, "--horizontal-pod-autoscaler-downscale-stabilization="+a.DownscaleStabilization.String())
	}
	if a.Tolerance != 0 {
		args = append(args, "--horizontal-pod-autoscaler-tolerance="+strconv.FormatFloat(a.Tolerance, 'g', -1, 64))
	}
	return args
}
