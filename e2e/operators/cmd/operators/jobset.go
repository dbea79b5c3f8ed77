package main

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"
	"sigs.k8s.io/jobset/pkg/controllers"
	"sigs.k8s.io/jobset/pkg/metrics"
	"sigs.k8s.io/jobset/pkg/webhooks"
)

var jobSet = operator{
	types: []func(*runtime.Scheme) error{jobsetv1alpha2.AddToScheme},
	setup: setupJobSet,
}

func setupJobSet(ctx context.Context, mgr ctrl.Manager, hooks bool) error {
	metrics.Register()
	if err := controllers.SetupJobSetIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	if err := controllers.SetupPodIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	sets := controllers.NewJobSetReconciler(mgr.GetClient(), mgr.GetScheme(), mgr.GetEventRecorderFor("jobset"))
	if err := sets.SetupWithManager(mgr); err != nil {
		return err
	}
	pods := controllers.NewPodReconciler(mgr.GetClient(), mgr.GetScheme(), mgr.GetEventRecorderFor("pod"))
	if err := pods.SetupWithManager(mgr); err != nil {
		return err
	}
	if !hooks {
		return nil
	}
	setHook, err := webhooks.NewJobSetWebhook(mgr.GetClient())
	if err != nil {
		return err
	}
	if err := setHook.SetupWebhookWithManager(mgr); err != nil {
		return err
	}
	return webhooks.NewPodWebhook(mgr.GetClient()).SetupWebhookWithManager(mgr)
}
