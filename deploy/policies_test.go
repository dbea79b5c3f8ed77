package deploy_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// validatingPolicies are all that Ebbtide ships.
var validatingPolicies = []string{
	"ebbtide-jobs", "ebbtide-kinds", "ebbtide-parts", "ebbtide-jobs-of-the-scheduler", "ebbtide-pods", "ebbtide-loans", "ebbtide-epochs", "ebbtide-status",
	"ebbtide-bindings", "ebbtide-resizes", "ebbtide-reserved", "ebbtide-gpunodes", "ebbtide-gpunodes-status", "ebbtide-claims-in-use",
	"ebbtide-devices", "ebbtide-claims", "ebbtide-claims-by-class", "ebbtide-deviceclasses",
	"ebbtide-namespaces", "ebbtide-namespace-security",
}

// Kubernetes checks the types in every policy's expressions, and has nothing to
// say against ours: a misspelt field would deny, or allow, without a word.
func TestPoliciesTypeCheck(t *testing.T) {
	c := testCluster(t)
	if err := installKinds(); err != nil {
		t.Fatal(err)
	}
	policies := c.client(t, administrator).AdmissionregistrationV1().ValidatingAdmissionPolicies()
	for _, name := range validatingPolicies {
		t.Run(name, func(t *testing.T) {
			labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
				policy, err := policies.Get(ctx, name, metav1.GetOptions{})
				if err != nil {
					return false, err.Error()
				}
				if policy.Status.TypeChecking == nil || policy.Status.ObservedGeneration != policy.Generation {
					return false, "not checked yet"
				}
				warnings := policy.Status.TypeChecking.ExpressionWarnings
				return len(warnings) == 0, fmt.Sprintf("warnings: %v", warnings)
			})
		})
	}
}
