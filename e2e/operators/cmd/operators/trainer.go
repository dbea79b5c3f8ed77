package main

import (
	"context"
	"fmt"

	trainerv1alpha1 "github.com/kubeflow/trainer/v2/pkg/apis/trainer/v1alpha1"
	"github.com/kubeflow/trainer/v2/pkg/controller"
	"github.com/kubeflow/trainer/v2/pkg/runtime/core"
	"github.com/kubeflow/trainer/v2/pkg/webhooks"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlcontroller "sigs.k8s.io/controller-runtime/pkg/controller"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"
	podgroupv1alpha1 "sigs.k8s.io/scheduler-plugins/apis/scheduling/v1alpha1"
	volcanov1beta1 "volcano.sh/apis/pkg/apis/scheduling/v1beta1"
)

var trainer = operator{
	types: []func(*runtime.Scheme) error{
		trainerv1alpha1.AddToScheme, jobsetv1alpha2.AddToScheme,
		podgroupv1alpha1.AddToScheme, volcanov1beta1.AddToScheme,
	},
	options: func(o *ctrl.Options) error {
		o.Client = client.Options{Cache: &client.CacheOptions{Unstructured: true}}
		return nil
	},
	setup: setupTrainer,
}

func setupTrainer(ctx context.Context, mgr ctrl.Manager, hooks bool) error {
	runtimes, err := core.New(ctx, mgr.GetClient(), mgr.GetFieldIndexer())
	if err != nil {
		return err
	}
	if kind, err := controller.SetupControllers(mgr, runtimes, ctrlcontroller.Options{}); err != nil {
		return fmt.Errorf("the controller of %s: %w", kind, err)
	}
	if !hooks {
		return nil
	}
	if kind, err := webhooks.Setup(mgr, runtimes); err != nil {
		return fmt.Errorf("the webhook of %s: %w", kind, err)
	}
	return nil
}
