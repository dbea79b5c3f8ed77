package main

import (
	"context"

	routev1 "github.com/openshift/api/route/v1"
	rayconfig "github.com/ray-project/kuberay/ray-operator/apis/config/v1alpha1"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray/utils"
	webhooks "github.com/ray-project/kuberay/ray-operator/pkg/webhooks/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// rayThreads is how many objects of one kind are worked on at a time.
const rayThreads = 4

var kubeRay = operator{
	types: []func(*runtime.Scheme) error{rayv1.AddToScheme, routev1.Install, rayconfig.AddToScheme},
	options: func(o *ctrl.Options) error {
		// Of Jobs, the operator sees those that it made.
		o.Cache.ByObject = map[client.Object]cache.ByObject{
			&batchv1.Job{}: {Label: labels.SelectorFromSet(labels.Set{utils.KubernetesCreatedByLabelKey: utils.ComponentName})},
		}
		return nil
	},
	setup: setupKubeRay,
}

// setupKubeRay leaves RayServices out, which are no jobs.
func setupKubeRay(ctx context.Context, mgr ctrl.Manager, hooks bool) error {
	clusters := ray.NewReconciler(ctx, mgr, ray.RayClusterReconcilerOptions{}, rayconfig.Configuration{})
	if err := clusters.SetupWithManager(mgr, rayThreads); err != nil {
		return err
	}
	jobs := ray.NewRayJobReconciler(ctx, mgr, ray.RayJobReconcilerOptions{}, dashboards{})
	if err := jobs.SetupWithManager(mgr, rayThreads); err != nil {
		return err
	}
	if !hooks {
		return nil
	}
	return webhooks.SetupRayClusterWebhookWithManager(mgr)
}
