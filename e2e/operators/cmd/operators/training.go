package main

import (
	"context"
	"fmt"

	kubeflowv1 "github.com/kubeflow/training-operator/pkg/apis/kubeflow.org/v1"
	"github.com/kubeflow/training-operator/pkg/config"
	controllerv1 "github.com/kubeflow/training-operator/pkg/controller.v1"
	"github.com/kubeflow/training-operator/pkg/controller.v1/common"
	"github.com/kubeflow/training-operator/pkg/webhooks"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	podgroupv1alpha1 "sigs.k8s.io/scheduler-plugins/apis/scheduling/v1alpha1"
	volcanov1beta1 "volcano.sh/apis/pkg/apis/scheduling/v1beta1"
)

// trainingThreads is how many objects of one kind are worked on at a time.
const trainingThreads = 4

// trainingKinds are those that a lab has definitions of. MPIJob has no webhook.
var trainingKinds = []string{kubeflowv1.PyTorchJobKind, kubeflowv1.MPIJobKind}

var trainingOperator = operator{
	types: []func(*runtime.Scheme) error{
		kubeflowv1.AddToScheme, podgroupv1alpha1.AddToScheme, volcanov1beta1.AddToScheme,
	},
	setup: setupTrainingOperator,
}

func setupTrainingOperator(_ context.Context, mgr ctrl.Manager, hooks bool) error {
	config.Config.PyTorchInitContainerImage = config.PyTorchInitContainerImageDefault
	config.Config.PyTorchInitContainerTemplateFile = config.PyTorchInitContainerTemplateFileDefault
	config.Config.PyTorchInitContainerMaxTries = config.PyTorchInitContainerMaxTriesDefault
	config.Config.MPIKubectlDeliveryImage = config.MPIKubectlDeliveryImageDefault
	for _, kind := range trainingKinds {
		reconcile := controllerv1.SupportedSchemeReconciler[kind]
		if err := reconcile(mgr, common.GenNonGangSchedulerSetupFunc(), trainingThreads); err != nil {
			return fmt.Errorf("the controller of %s: %w", kind, err)
		}
		hook, ok := webhooks.SupportedSchemeWebhook[kind]
		if !ok || !hooks {
			continue
		}
		if err := hook(mgr); err != nil {
			return fmt.Errorf("the webhook of %s: %w", kind, err)
		}
	}
	return nil
}
