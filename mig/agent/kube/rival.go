package kube

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Programs that cut GPUs, and what they leave on a node.
const (
	labelMIGConfig  = "nvidia.com/mig.config"
	appMIGManager   = "nvidia-mig-manager"
	hamiRegister    = "hami.io/node-nvidia-register"
	gateDynamicMIG  = "DynamicMIG=true"
	featureGatesEnv = "FEATURE_GATES"
)

// hamiMIG is a device of HAMi's in MIG mode, in either of its notations.
var hamiMIG = regexp.MustCompile(`"mode":\s*"mig"|,mig[,:]`)

// Rival names another program that changes the layouts of the node's GPUs, by what it
// left on the node or runs there: NVIDIA's mig-manager, its DRA driver with DynamicMIG,
// HAMi in MIG mode. Only pods with a privileged container count, as those of the programs
// are: labels and variables anybody may give to a pod, and it would stop every change.
func (n *Node) Rival(ctx context.Context) (string, error) {
	node, err := n.node(ctx)
	if err != nil {
		return "", err
	}
	pods, err := n.pods(ctx)
	if err != nil {
		return "", err
	}
	return rival(node, pods), nil
}

func rival(node *corev1.Node, pods []corev1.Pod) string {
	if value := node.Labels[labelMIGConfig]; value != "" {
		return fmt.Sprintf("mig-manager (label %s=%s)", labelMIGConfig, value)
	}
	if hamiMIG.MatchString(node.Annotations[hamiRegister]) {
		return fmt.Sprintf("HAMi in MIG mode (annotation %s)", hamiRegister)
	}
	for _, p := range pods {
		if !privileged(p) {
			continue
		}
		if p.Labels["app"] == appMIGManager || p.Labels["app.kubernetes.io/name"] == appMIGManager {
			return fmt.Sprintf("mig-manager (pod %s/%s)", p.Namespace, p.Name)
		}
		if dynamicMIG(p) {
			return fmt.Sprintf("NVIDIA's DRA driver with DynamicMIG (pod %s/%s)", p.Namespace, p.Name)
		}
	}
	return ""
}

func privileged(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool {
		return c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
	})
}

func dynamicMIG(p corev1.Pod) bool {
	for _, c := range p.Spec.Containers {
		for _, e := range c.Env {
			if e.Name == featureGatesEnv && strings.Contains(e.Value, gateDynamicMIG) {
				return true
			}
		}
		for _, arg := range append(append([]string(nil), c.Command...), c.Args...) {
			if strings.Contains(arg, "feature-gates") && strings.Contains(arg, gateDynamicMIG) {
				return true
			}
		}
	}
	return false
}
