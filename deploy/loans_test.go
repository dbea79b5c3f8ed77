package deploy_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// Only the broker writes Loans, whatever its roles allow another.
func TestOnlyTheBrokerWritesLoans(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	const rule = "loans.ebbtide.dev: only the broker writes Loans"
	made := ebbtideObject(t, "Loan", "made", "spec: "+loanSpec)
	if _, err := c.ebbtide(t, broker, "loans", true, namespace).Create(t.Context(), made, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create as the broker: %v", err)
	}
	status := []byte(`{"status": {"ledgerSeq": 7}}`)
	dryRun := []string{metav1.DryRunAll}
	tests := []struct {
		name string
		user string
		do   func(user string) error
		want string
	}{
		{"tenant reads", tenant, func(user string) error {
			_, err := c.ebbtide(t, user, "loans", true, namespace).Get(t.Context(), "made", metav1.GetOptions{})
			return err
		}, ""},
		{"tenant creates", tenant, func(user string) error {
			_, err := c.ebbtide(t, user, "loans", true, namespace).Create(t.Context(),
				ebbtideObject(t, "Loan", "mine", "spec: "+loanSpec), metav1.CreateOptions{DryRun: dryRun})
			return err
		}, `cannot create resource "loans"`},
		{"administrator creates", administrator, func(user string) error {
			_, err := c.ebbtide(t, user, "loans", true, namespace).Create(t.Context(),
				ebbtideObject(t, "Loan", "mine", "spec: "+loanSpec), metav1.CreateOptions{DryRun: dryRun})
			return err
		}, rule},
		{"administrator writes the status", administrator, func(user string) error {
			_, err := c.ebbtide(t, user, "loans", true, namespace).Patch(t.Context(), "made",
				types.MergePatchType, status, metav1.PatchOptions{DryRun: dryRun}, "status")
			return err
		}, rule},
		{"scheduler writes the status", scheduler, func(user string) error {
			_, err := c.ebbtide(t, user, "loans", true, namespace).Patch(t.Context(), "made",
				types.MergePatchType, status, metav1.PatchOptions{DryRun: dryRun}, "status")
			return err
		}, `cannot patch resource "loans/status"`},
		{"broker writes the status", broker, func(user string) error {
			return writeStatus(t, c.ebbtide(t, user, "loans", true, namespace), "made", `{"ledgerSeq": 7}`, dryRun)
		}, ""},
		{"administrator deletes", administrator, func(user string) error {
			return c.ebbtide(t, user, "loans", true, namespace).Delete(t.Context(), "made", metav1.DeleteOptions{DryRun: dryRun})
		}, rule},
		{"broker deletes", broker, func(user string) error {
			return c.ebbtide(t, user, "loans", true, namespace).Delete(t.Context(), "made", metav1.DeleteOptions{DryRun: dryRun})
		}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { wantOutcome(t, test.do(test.user), test.want) })
	}
}

// A namespace with Loans in it can be deleted: the policy lets Kubernetes' own
// controllers clean up.
func TestNamespaceWithLoansGoes(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	if _, err := c.ebbtide(t, broker, "loans", true, namespace).Create(t.Context(),
		ebbtideObject(t, "Loan", "left", "spec: "+loanSpec), metav1.CreateOptions{}); err != nil {
		t.Fatalf("create as the broker: %v", err)
	}
	namespaces := c.client(t, administrator).CoreV1().Namespaces()
	if err := namespaces.Delete(t.Context(), namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatalf("delete the namespace: %v", err)
	}
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		ns, err := namespaces.Get(ctx, namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, ""
		}
		if err != nil {
			return false, err.Error()
		}
		return false, fmt.Sprintf("still %s: %v", ns.Status.Phase, ns.Status.Conditions)
	})
}
