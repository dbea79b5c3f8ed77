package deploy_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// Who was let ask the broker can do that and nothing else in its namespace.
func TestBrokerReader(t *testing.T) {
	c := testCluster(t)
	const reader = "carol"
	client := c.client(t, administrator)
	_, err := client.RbacV1().RoleBindings("ebbtide-system").Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "ebbtide-broker-readers"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "ebbtide-broker-reader"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: reader}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	may := func(ctx context.Context, verb, group, resource, subresource, name string) (bool, error) {
		answer, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User: reader, Groups: []string{"system:authenticated"},
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: "ebbtide-system", Verb: verb, Group: group, Resource: resource, Subresource: subresource, Name: name,
				},
			},
		}, metav1.CreateOptions{})
		return err == nil && answer.Status.Allowed, err
	}
	// The API server learns of bindings from a watch.
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		allowed, err := may(ctx, "get", "coordination.k8s.io", "leases", "", "ebbtide-broker")
		return allowed, fmt.Sprintf("%s may not read the broker's Lease yet: %v", reader, err)
	})
	for _, test := range []struct {
		verb, group, resource, subresource, name string
		want                                     bool
	}{
		{"create", "", "pods", "portforward", "ebbtide-broker-0", true},
		{"create", "", "pods", "portforward", "ebbtide-broker-1", true},
		{"create", "", "pods", "portforward", "ebbtide-scheduler-0", false},
		{"create", "", "pods", "exec", "ebbtide-broker-0", false},
		{"get", "", "pods", "", "ebbtide-broker-0", false},
		{"get", "coordination.k8s.io", "leases", "", "ebbtide-scheduler", false},
		{"update", "coordination.k8s.io", "leases", "", "ebbtide-broker", false},
		{"get", "", "secrets", "", "", false},
		{"get", "scheduling.k8s.io", "priorityclasses", "", "", false},
	} {
		allowed, err := may(t.Context(), test.verb, test.group, test.resource, test.subresource, test.name)
		if err != nil {
			t.Fatal(err)
		}
		if allowed != test.want {
			t.Errorf("%s %s %s/%s %q: allowed is %v", reader, test.verb, test.resource, test.subresource, test.name, allowed)
		}
	}
}

// A cluster's viewer reads PriorityClasses, and no more than reads them.
func TestClusterViewer(t *testing.T) {
	c := testCluster(t)
	const viewer = "dave"
	_, err := c.client(t, administrator).RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "ebbtide-viewers"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "ebbtide-view"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: viewer}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		allowed, why, err := c.may(ctx, viewer, "list", "scheduling.k8s.io", "priorityclasses", "")
		return allowed, fmt.Sprintf("%s may not list PriorityClasses: %s %v", viewer, why, err)
	})
	for _, verb := range []string{"create", "update", "delete"} {
		if allowed, _, err := c.may(t.Context(), viewer, verb, "scheduling.k8s.io", "priorityclasses", ""); err != nil || allowed {
			t.Errorf("%s may %s PriorityClasses: %v %v", viewer, verb, allowed, err)
		}
	}
}
