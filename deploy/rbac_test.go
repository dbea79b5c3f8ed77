package deploy_test

import (
	"fmt"
	"testing"
)

// The roles give each user what it needs and keep from it what would let it
// help itself. Rows that deny are as much the point as those that allow.
func TestRoles(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	const own = "the tenant's namespace"
	tests := []struct {
		user      string
		verb      string
		group     string
		resource  string // with its subresource
		namespace string
		want      bool
	}{
		{tenant, "create", "ebbtide.dev", "lendingpolicies", own, true},
		{tenant, "create", "ebbtide.dev", "trainingqueues", own, true},
		{tenant, "watch", "ebbtide.dev", "loans", own, true},
		{tenant, "create", "ebbtide.dev", "loans", own, false},
		{tenant, "delete", "ebbtide.dev", "loans", own, false},
		{tenant, "update", "ebbtide.dev", "lendingpolicies/status", own, false},
		{tenant, "update", "ebbtide.dev", "loans/status", own, false},
		{tenant, "create", "ebbtide.dev", "tenantquotas", "", false},
		{tenant, "update", "ebbtide.dev", "tenantquotas", "", false},
		{tenant, "create", "", "pods/binding", own, false},
		{tenant, "create", "", "bindings", own, false},
		{tenant, "update", "", "pods/status", own, false},
		{tenant, "update", "ebbtide.dev", "trainingqueues/status", own, false},
		{tenant, "update", "ebbtide.dev", "tenantquotas/status", "", false},
		{tenant, "create", "scheduling.k8s.io", "priorityclasses", "", false},
		{tenant, "update", "", "namespaces", own, false},
		{tenant, "update", "", "resourcequotas", own, false},
		{tenant, "create", "", "pods/eviction", "default", false},
		{tenant, "create", "resource.k8s.io", "deviceclasses", "", false},
		{tenant, "get", "ebbtide.dev", "loans", "default", false},

		{tenant, "get", "ebbtide.dev", "gpunodes", "", false},
		{tenant, "update", "ebbtide.dev", "gpunodes", "", false},
		{tenant, "update", "ebbtide.dev", "gpunodes/status", "", false},
		{broker, "update", "ebbtide.dev", "gpunodes", "", true},
		{broker, "create", "ebbtide.dev", "gpunodes", "", false},
		{broker, "update", "ebbtide.dev", "gpunodes/status", "", false},
		{scheduler, "update", "ebbtide.dev", "gpunodes", "", true},
		{scheduler, "watch", "ebbtide.dev", "gpunodes", "", true},
		{scheduler, "delete", "ebbtide.dev", "gpunodes", "", false},
		{scheduler, "update", "ebbtide.dev", "gpunodes/status", "", false},
		{broker, "create", "ebbtide.dev", "loans", own, true},
		{broker, "update", "ebbtide.dev", "lendingpolicies/status", own, true},
		{broker, "update", "ebbtide.dev", "lendingpolicies", own, false},
		{broker, "update", "ebbtide.dev", "tenantquotas", "", false},
		{broker, "patch", "batch", "jobs", own, true},
		{broker, "update", "apps", "deployments/scale", own, true},
		{broker, "update", "apps", "statefulsets/scale", own, true},
		{broker, "update", "apps", "deployments", own, false},
		{broker, "patch", "apps", "deployments", own, false},
		{broker, "watch", "keda.sh", "scaledobjects", "", true},
		{broker, "update", "keda.sh", "scaledobjects", "", false},
		{broker, "list", "autoscaling.internal.knative.dev", "podautoscalers", "", true},
		{broker, "watch", "serving.knative.dev", "revisions", "", true},
		{broker, "watch", "llmd.ai", "variantautoscalings", "", true},
		{broker, "watch", "leaderworkerset.x-k8s.io", "leaderworkersets", "", true},
		{broker, "patch", "leaderworkerset.x-k8s.io", "leaderworkersets", "", false},
		{broker, "patch", "batch", "jobs/status", own, true},
		{broker, "watch", "jobset.x-k8s.io", "jobsets", "", true},
		{broker, "patch", "jobset.x-k8s.io", "jobsets", own, true},
		{broker, "patch", "jobset.x-k8s.io", "jobsets/status", own, true},
		{broker, "update", "jobset.x-k8s.io", "jobsets", own, false},
		{broker, "delete", "jobset.x-k8s.io", "jobsets", own, false},
		{broker, "watch", "trainer.kubeflow.org", "trainjobs", "", true},
		{broker, "patch", "trainer.kubeflow.org", "trainjobs", own, true},
		{broker, "patch", "trainer.kubeflow.org", "trainjobs/status", own, true},
		{broker, "get", "trainer.kubeflow.org", "trainingruntimes", own, false},
		{broker, "watch", "kubeflow.org", "pytorchjobs", "", true},
		{broker, "patch", "kubeflow.org", "pytorchjobs", own, true},
		{broker, "patch", "kubeflow.org", "pytorchjobs/status", own, false}, // told by an annotation
		{broker, "watch", "kubeflow.org", "mpijobs", "", true},
		{broker, "patch", "kubeflow.org", "mpijobs", own, true},
		{broker, "patch", "kubeflow.org", "mpijobs/status", own, false},
		{broker, "get", "kubeflow.org", "tfjobs", own, false},
		{broker, "watch", "ray.io", "rayjobs", "", true},
		{broker, "patch", "ray.io", "rayjobs", own, true},
		{broker, "patch", "ray.io", "rayjobs/status", own, false},
		{broker, "watch", "ray.io", "rayclusters", "", true},
		{broker, "patch", "ray.io", "rayclusters", own, true},
		{broker, "patch", "ray.io", "rayclusters/status", own, true},
		{broker, "get", "ray.io", "rayservices", own, false},
		{broker, "delete", "ray.io", "rayclusters", own, false},
		{tenant, "patch", "batch", "jobs/status", own, false},
		{broker, "create", "batch", "jobs", own, false},
		{broker, "delete", "", "pods", own, true},
		{broker, "patch", "", "pods/status", own, true},
		{broker, "update", "", "pods/status", own, false},
		{broker, "create", "", "pods", own, false},
		{broker, "create", "", "pods/binding", own, false},
		{broker, "watch", "", "resourcequotas", own, true},
		{broker, "watch", "", "limitranges", own, true},
		{broker, "update", "", "resourcequotas", own, false},
		{broker, "update", "", "namespaces", "", false},
		{broker, "get", "", "secrets", own, false},
		{broker, "get", "", "secrets", "ebbtide-system", false},
		{broker, "update", "coordination.k8s.io", "leases", "ebbtide-system", true},
		{broker, "update", "coordination.k8s.io", "leases", "kube-system", false},
		{broker, "list", "admissionregistration.k8s.io", "validatingadmissionpolicies", "", true},
		{broker, "list", "admissionregistration.k8s.io", "mutatingadmissionpolicybindings", "", true},
		{broker, "update", "admissionregistration.k8s.io", "validatingadmissionpolicies", "", false},
		{broker, "delete", "admissionregistration.k8s.io", "validatingadmissionpolicybindings", "", false},
		{broker, "impersonate", "", "users", "", false},
		{broker, "bind", "rbac.authorization.k8s.io", "clusterroles", "", false},
		{broker, "escalate", "rbac.authorization.k8s.io", "clusterroles", "", false},

		{scheduler, "create", "", "pods/binding", own, true},
		{scheduler, "watch", "ebbtide.dev", "loans", own, true},
		{scheduler, "get", "ebbtide.dev", "loans", own, true},
		{scheduler, "watch", "ebbtide.dev", "lendingpolicies", own, true},
		{scheduler, "update", "ebbtide.dev", "lendingpolicies", own, false},
		{scheduler, "create", "ebbtide.dev", "loans", own, false},
		{scheduler, "update", "ebbtide.dev", "loans/status", own, false},
		{scheduler, "patch", "", "pods/status", own, true},
		{scheduler, "delete", "", "pods", own, true},
		{scheduler, "patch", "batch", "jobs", own, true},
		{scheduler, "update", "batch", "jobs", own, false},
		{scheduler, "patch", "batch", "jobs/status", own, false},
		{scheduler, "create", "batch", "jobs", own, false},
		{scheduler, "delete", "batch", "jobs", own, false},
		{scheduler, "watch", "jobset.x-k8s.io", "jobsets", "", true},
		{scheduler, "patch", "jobset.x-k8s.io", "jobsets", own, true},
		{scheduler, "patch", "jobset.x-k8s.io", "jobsets/status", own, false},
		{scheduler, "watch", "ray.io", "rayclusters", "", true},
		{scheduler, "patch", "ray.io", "rayclusters", own, true},
		{scheduler, "get", "ray.io", "rayjobs", own, true},
		{scheduler, "patch", "ray.io", "rayjobs", own, true},
		{scheduler, "watch", "ray.io", "rayjobs", "", false}, // nothing is above one
		{scheduler, "patch", "trainer.kubeflow.org", "trainjobs", own, true},
		{scheduler, "watch", "trainer.kubeflow.org", "trainjobs", "", false},
		{scheduler, "patch", "kubeflow.org", "pytorchjobs", own, true},
		{scheduler, "patch", "kubeflow.org", "mpijobs", own, true},
		{scheduler, "list", "kubeflow.org", "mpijobs", "", false},
		{scheduler, "update", "kubeflow.org", "mpijobs", own, false},
		{scheduler, "delete", "kubeflow.org", "pytorchjobs", own, false},
		{scheduler, "watch", "apps", "statefulsets", "", true},
		{scheduler, "watch", "scheduling.k8s.io", "podgroups", own, true},
		{scheduler, "watch", "scheduling.k8s.io", "workloads", own, true},
		{scheduler, "create", "scheduling.k8s.io", "podgroups", own, false},
		{scheduler, "update", "ebbtide.dev", "tenantquotas/status", "", false},
		{scheduler, "get", "", "secrets", own, false},
		{scheduler, "create", "coordination.k8s.io", "leases", "ebbtide-system", true},
		{scheduler, "update", "coordination.k8s.io", "leases", "ebbtide-system", false}, // but its own, by name
	}
	for _, test := range tests {
		where := test.namespace
		if where == own {
			where = namespace
		}
		verdict := map[bool]string{true: "may", false: "may not"}[test.want]
		name := fmt.Sprintf("%s %s %s %s.%s in %q", who(test.user), verdict, test.verb, test.resource, test.group, test.namespace)
		t.Run(name, func(t *testing.T) {
			allowed, why, err := c.may(t.Context(), test.user, test.verb, test.group, test.resource, where)
			if err != nil {
				t.Fatal(err)
			}
			if allowed != test.want {
				t.Errorf("allowed is %v: %s", allowed, why)
			}
		})
	}
}
