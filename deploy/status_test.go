package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// Whatever roles a cluster hands out, the status of Ebbtide's kinds is the
// broker's, and their spec is whose RBAC it is.
func TestStatusIsTheBrokers(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	tests := []struct{ kind, plural, spec, status, change string }{
		{"TenantQuota", "tenantquotas", `{namespaces: {matchLabels: {team: none}}, flavors: [{name: h100, resource: nvidia.com/gpu}]}`,
			`{"weightedShare": 0, "observedGeneration": 1}`, `{"spec": {"weight": 7}}`},
		{"LendingPolicy", "lendingpolicies", `{` + target + `}`,
			`{"owned": 64, "lent": 0, "held": 0, "need": 0, "headroom": 0, "lendable": 64}`, `{"spec": {"owned": 7}}`},
		{"TrainingQueue", "trainingqueues", `{}`,
			`{"pending": 0, "admitted": 9}`, `{"spec": {"weight": 7}}`},
	}
	for _, test := range tests {
		t.Run(test.kind, func(t *testing.T) {
			client := c.ebbtide(t, administrator, test.plural, test.kind != "TenantQuota", namespace)
			if _, err := client.Create(t.Context(), ebbtideObject(t, test.kind, "mine", "spec: "+test.spec), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Delete(context.WithoutCancel(t.Context()), "mine", metav1.DeleteOptions{}) })
			_, err := client.Patch(t.Context(), "mine", types.MergePatchType, fmt.Appendf(nil, `{"status": %s}`, test.status), metav1.PatchOptions{}, "status")
			wantRefusal(t, err, "status: only the broker writes it")
			_, err = client.Patch(t.Context(), "mine", types.MergePatchType, []byte(test.change), metav1.PatchOptions{})
			wantOutcome(t, err, "")
			err = writeStatus(t, c.ebbtide(t, broker, test.plural, test.kind != "TenantQuota", namespace), "mine", test.status, nil)
			wantOutcome(t, err, "")
		})
	}
}

// writeStatus puts a status in place of what is there, as the broker does.
func writeStatus(t *testing.T, client dynamic.ResourceInterface, name, status string, dryRun []string) error {
	t.Helper()
	object, err := client.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]any{}
	if err := json.Unmarshal([]byte(status), &content); err != nil {
		t.Fatal(err)
	}
	object.Object["status"] = content
	_, err = client.UpdateStatus(t.Context(), object, metav1.UpdateOptions{DryRun: dryRun})
	return err
}
