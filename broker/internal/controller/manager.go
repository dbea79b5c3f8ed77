package controller

import (
	"fmt"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	// callTimeout bounds a call to the API server, at both ends of it: an answer that
	// comes later is not waited for, and the server gives up what it has not done.
	callTimeout = 5 * time.Second
	// alone bounds how long one plan may take where there is no Lease to lose.
	alone = 30 * time.Second
)

// acting is how long one plan may be carried out; what is left is done next time. A
// leader that was asleep meanwhile finds that its time is over, and not that it may go on:
// by then another may lead.
func (e *LeaderElection) acting() time.Duration {
	if !e.Enabled {
		return alone
	}
	return e.RenewDeadline.Duration
}

// newManager makes what reads, writes and elects. Every call but those of the caches ends
// within callTimeout, and no later than a plan; the caches' watches last, and their lists
// may be long, but nothing is written by them. Start of the manager returns as soon as the
// Lease is lost, whatever goes on.
func newManager(restConfig *rest.Config, namespace string, c *Config) (manager.Manager, error) {
	election := &c.LeaderElection
	patient := rest.CopyConfig(restConfig)
	patient.QPS, patient.Burst = c.Client.QPS, c.Client.Burst
	hasty := rest.CopyConfig(patient)
	hasty.Timeout = min(callTimeout, election.acting())
	mgr, err := ctrl.NewManager(hasty, ctrl.Options{
		Scheme: Scheme(),
		Cache: cache.Options{
			DefaultTransform:             slim,
			DefaultUnsafeDisableDeepCopy: ptr.To(true),
		},
		NewCache: func(_ *rest.Config, o cache.Options) (cache.Cache, error) {
			o.HTTPClient = nil // it has the timeout of the others
			return cache.New(patient, o)
		},
		// Both are served by listeners of the broker's own, which ask who asks.
		Metrics:                       metricsserver.Options{BindAddress: off},
		HealthProbeBindAddress:        off,
		LeaderElection:                election.Enabled,
		LeaderElectionID:              LeaseName,
		LeaderElectionNamespace:       namespace,
		LeaderElectionResourceLock:    "leases",
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &election.LeaseDuration.Duration,
		RenewDeadline:                 &election.RenewDeadline.Duration,
		RetryPeriod:                   &election.RetryPeriod.Duration,
	})
	if err != nil {
		return nil, fmt.Errorf("make the manager: %w", err)
	}
	return mgr, nil
}
