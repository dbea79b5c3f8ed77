package deploy_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// A user who may write namespaces, but no TenantQuotas, does not choose a
// namespace's tenant. The rows' quotas are made anew for each row.
func TestNamespacesStayWithTheirTenant(t *testing.T) {
	c := testCluster(t)
	const owner, giver = "erin", "frank"
	c.bind(t, "namespace-writers", "namespace-writer", owner, giver)
	c.bind(t, "quota-givers", "ebbtide-quota-admin", giver)
	quotas := []string{
		`{namespaces: {matchLabels: {team: red}}, flavors: [{name: h100, resource: nvidia.com/gpu}]}`,
		`{namespaces: {matchExpressions: [{key: team, operator: In, values: [blue, green]}, {key: retired, operator: DoesNotExist}]}, flavors: [{name: h100, resource: nvidia.com/gpu}]}`,
		`{namespaces: {matchExpressions: [{key: cost-centre, operator: Exists}, {key: stage, operator: NotIn, values: [test]}]}, flavors: [{name: h100, resource: nvidia.com/gpu}]}`,
		`{namespaces: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [claimed-by-name]}]}, flavors: [{name: h100, resource: nvidia.com/gpu}]}`,
		`{namespaces: {matchExpressions: [{key: not-for-batch, operator: DoesNotExist}, {key: open, operator: NotIn, values: [""]}]}, flavors: [{name: h100, resource: nvidia.com/gpu}]}`,
		`{flavors: [{name: h100, resource: nvidia.com/gpu, nominal: 4}]}`,
	}
	client := c.ebbtide(t, administrator, "tenantquotas", false, "")
	for i, spec := range slices.Backward(quotas) {
		name := fmt.Sprintf("tenant-%d", i)
		if _, err := client.Create(t.Context(), ebbtideObject(t, "TenantQuota", name, "spec: "+spec), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}) })
	}
	selects := func(i int) string {
		return fmt.Sprintf("metadata.labels: TenantQuota tenant-%d selects namespaces by them; only who may update tenantquotas", i)
	}
	// The API server learns of the quotas from a watch, of the first one last.
	probe := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "probe", Labels: map[string]string{"team": "red"}}}
	dryRun := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		_, err := c.client(t, owner).CoreV1().Namespaces().Create(ctx, probe.DeepCopy(), dryRun)
		return err != nil && strings.Contains(err.Error(), selects(0)), fmt.Sprintf("the quotas are not seen yet: %v", err)
	})

	type labels = map[string]string
	const fresh = "fresh"
	tests := []struct {
		name   string
		user   string
		object string // name of a namespace to create
		from   labels // nil: it is created
		to     labels
		want   string
	}{
		{"a new one of nobody", owner, fresh, nil, labels{"stage": "test", "not-for-batch": ""}, ""},
		{"a new one without labels", owner, fresh, nil, labels{}, ""},
		{"a new one in a team", owner, fresh, nil, labels{"team": "red"}, selects(0)},
		{"a new one in a team, by who gives quota", giver, fresh, nil, labels{"team": "red"}, ""},
		{"a new one in a team, by an administrator", administrator, fresh, nil, labels{"team": "red"}, ""},
		{"a new one in one of several", owner, fresh, nil, labels{"team": "green"}, selects(1)},
		{"a new one in a team that nobody selects", owner, fresh, nil, labels{"team": "white"}, ""},
		{"a new one with any value", owner, fresh, nil, labels{"cost-centre": "7"}, selects(2)},
		{"a new one with any value, ruled out", owner, fresh, nil, labels{"cost-centre": "7", "stage": "test"}, ""},
		{"a new one by its name", owner, "claimed-by-name", nil, labels{}, selects(3)},

		{"into a team", owner, fresh, labels{}, labels{"team": "red"}, selects(0)},
		{"into a team, by who gives quota", giver, fresh, labels{}, labels{"team": "red"}, ""},
		{"out of a team", owner, fresh, labels{"team": "red"}, labels{}, selects(0)},
		{"from a team to another", owner, fresh, labels{"team": "red"}, labels{"team": "blue"}, "metadata.labels: TenantQuota tenant-"},
		{"from one label of a team to the other", owner, fresh, labels{"team": "blue"}, labels{"team": "green"}, ""},
		{"out of a team by a label more", owner, fresh, labels{"team": "blue"}, labels{"team": "blue", "retired": "1"}, selects(1)},
		{"out of a quota for all", owner, fresh, labels{}, labels{"not-for-batch": "1"}, selects(4)},
		{"into a second team", owner, fresh, labels{"team": "red"}, labels{"team": "red", "cost-centre": "7"}, selects(2)},
		{"a label of no quota", owner, fresh, labels{"team": "red"}, labels{"team": "red", "mood": "good"}, ""},
		{"security that is enforced", owner, fresh, labels{}, labels{"pod-security.kubernetes.io/enforce": "restricted"}, ""},
		{"no security", owner, fresh, labels{}, labels{"pod-security.kubernetes.io/enforce": "privileged"},
			"metadata.labels[pod-security.kubernetes.io/enforce]: only who may update tenantquotas makes a namespace privileged"},
		{"no security, by who gives quota", giver, fresh, labels{}, labels{"pod-security.kubernetes.io/enforce": "privileged"}, ""},
		{"a new one without security", owner, fresh, nil, labels{"pod-security.kubernetes.io/enforce": "privileged"},
			"metadata.labels[pod-security.kubernetes.io/enforce]: only who may update tenantquotas makes a namespace privileged"},
		{"another label, with no security", owner, fresh, labels{"pod-security.kubernetes.io/enforce": "privileged"},
			labels{"pod-security.kubernetes.io/enforce": "privileged", "mood": "good"}, ""},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ours := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: test.object, Labels: test.to}}
			if test.from == nil {
				_, err := c.client(t, test.user).CoreV1().Namespaces().Create(t.Context(), ours, dryRun)
				wantOutcome(t, err, test.want)
				return
			}
			ours.Name, ours.Labels = fmt.Sprintf("%s-%d", test.object, i), test.from
			made, err := c.client(t, administrator).CoreV1().Namespaces().Create(t.Context(), ours, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			changed := made.DeepCopy()
			changed.Labels = test.to
			_, err = c.client(t, test.user).CoreV1().Namespaces().Patch(t.Context(), made.Name,
				types.StrategicMergePatchType, difference(t, made, changed), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			wantOutcome(t, err, test.want)
		})
	}
}

// bind gives users a ClusterRole, and makes it if it is namespace-writer.
func (c *cluster) bind(t *testing.T, name, role string, users ...string) {
	t.Helper()
	client := c.client(t, administrator)
	if role == "namespace-writer" {
		_, err := client.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: role},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"*"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
	for _, user := range users {
		binding.Subjects = append(binding.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user})
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	group, resource := "", "namespaces"
	if role == "ebbtide-quota-admin" {
		group, resource = "ebbtide.dev", "tenantquotas"
	}
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		for _, user := range users {
			if allowed, why, err := c.may(ctx, user, "update", group, resource, ""); err != nil || !allowed {
				return false, fmt.Sprintf("%s may not update %s yet: %s %v", user, resource, why, err)
			}
		}
		return true, ""
	})
}
