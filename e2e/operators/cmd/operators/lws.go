package main

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	leaderworkersetv1 "sigs.k8s.io/lws/api/leaderworkerset/v1"
	"sigs.k8s.io/lws/pkg/controllers"
	"sigs.k8s.io/lws/pkg/webhooks"
)

var leaderWorkerSet = operator{
	types: []func(*runtime.Scheme) error{leaderworkersetv1.AddToScheme},
	setup: setupLeaderWorkerSet,
}

func setupLeaderWorkerSet(_ context.Context, mgr ctrl.Manager, hooks bool) error {
	if err := controllers.SetupIndexes(mgr.GetFieldIndexer()); err != nil {
		return err
	}
	recorder := mgr.GetEventRecorderFor("leaderworkerset")
	sets := controllers.NewLeaderWorkerSetReconciler(mgr.GetClient(), mgr.GetScheme(), recorder)
	if err := sets.SetupWithManager(mgr); err != nil {
		return err
	}
	// No scheduler of groups of pods stands behind it, as by default.
	pods := controllers.NewPodReconciler(mgr.GetClient(), mgr.GetScheme(), recorder, nil)
	if err := pods.SetupWithManager(mgr); err != nil {
		return err
	}
	if !hooks {
		return nil
	}
	if err := webhooks.SetupLeaderWorkerSetWebhook(mgr); err != nil {
		return err
	}
	return webhooks.NewPodWebhook(nil).Setup(mgr)
}
