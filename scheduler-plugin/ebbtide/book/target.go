package book

import (
	"cmp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Target is a workload in a pod's namespace. The zero Target is none.
type Target struct{ Group, Kind, Name string }

// TargetOf returns the workload that the pod is of: its controller, or the Deployment
// of its ReplicaSet. Its answer is for preferences only: a tenant may write labels.
func TargetOf(pod *corev1.Pod) Target {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return Target{}
	}
	t := Target{Group: groupOf(owner.APIVersion), Kind: owner.Kind, Name: owner.Name}
	if t.Kind == "ReplicaSet" && t.Group == appsv1.GroupName {
		hash := pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		if name, found := strings.CutSuffix(owner.Name, "-"+hash); found && hash != "" {
			t.Kind, t.Name = "Deployment", name
		}
	}
	return t
}

func groupOf(apiVersion string) string {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return apiVersion // no group is called that
	}
	return gv.Group
}

const (
	// byTarget is the index of policies with pools.
	byTarget = "ebbtide.dev/target"
	// byPins is the index of policies with pinned slices, by namespace.
	byPins = "ebbtide.dev/pins"
)

func targetKey(namespace string, t Target) string {
	return namespace + "/" + t.Group + "/" + t.Kind + "/" + t.Name
}

// PolicyIndexers are the indexes that PoolsOf and Pins expect. A policy that only
// advises is in none, nor is one in that of what it does not have.
func PolicyIndexers() cache.Indexers {
	return cache.Indexers{
		byTarget: func(obj any) ([]string, error) {
			policy, ok := obj.(*v1alpha1.LendingPolicy)
			if !ok || len(policy.Spec.Pools) == 0 || policy.Spec.Mode == v1alpha1.ModeAdvise {
				return nil, nil
			}
			ref := policy.Spec.TargetRef
			return []string{targetKey(policy.Namespace, Target{groupOf(ref.APIVersion), ref.Kind, ref.Name})}, nil
		},
		byPins: func(obj any) ([]string, error) {
			policy, ok := obj.(*v1alpha1.LendingPolicy)
			if !ok || policy.Spec.MIG == nil || policy.Spec.MIG.Pinned == 0 || policy.Spec.Mode == v1alpha1.ModeAdvise {
				return nil, nil
			}
			return []string{policy.Namespace}, nil
		},
	}
}

// Pins reports whether slices are pinned for a service in the namespace; not, if nothing
// can be read.
func Pins(policies cache.Indexer, namespace string) bool {
	if policies == nil {
		return false
	}
	found, err := policies.IndexKeys(byPins, namespace)
	return err == nil && len(found) > 0
}

// PoolsOf returns the pools of the workload in the namespace, the preferred first; none
// if no policy has any, or nothing can be read. Of several policies the first by name
// counts. The result is not to be written to.
func PoolsOf(policies cache.Indexer, namespace string, t Target) []v1alpha1.Pool {
	if policies == nil || t.Name == "" {
		return nil
	}
	found, err := policies.ByIndex(byTarget, targetKey(namespace, t))
	if err != nil || len(found) == 0 {
		return nil
	}
	first := slices.MinFunc(found, func(a, b any) int { return cmp.Compare(nameOf(a), nameOf(b)) })
	policy, ok := first.(*v1alpha1.LendingPolicy)
	if !ok {
		return nil
	}
	return policy.Spec.Pools
}

func nameOf(obj any) string {
	if policy, ok := obj.(*v1alpha1.LendingPolicy); ok {
		return policy.Name
	}
	return ""
}
