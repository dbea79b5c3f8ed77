package actuate_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// TestScaleOnARealServer scales Deployments and StatefulSets through the API server's
// own scale subresource, with the rights that the broker has.
func TestScaleOnARealServer(t *testing.T) {
	manifests, err := deploy.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	l := labtest.New(t, lab.Options{NoPrometheus: true, Manifests: [][]byte{manifests}})
	if err := l.CreateNamespace(t.Context(), "serving", nil); err != nil {
		t.Fatal(err)
	}
	admin := labClient(t, l.Config())
	config := l.Config()
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:ebbtide-system:ebbtide-broker", Groups: []string{"system:serviceaccounts", "system:authenticated"},
	}
	broker := labClient(t, config)

	labels := map[string]string{"app": "chat"}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	pods := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "main", Image: "none"}},
	}}
	meta := func(kind string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "serving", Name: strings.ToLower(kind)}
	}
	for kind, target := range map[string]client.Object{
		"Deployment":  &appsv1.Deployment{ObjectMeta: meta("Deployment"), Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](4), Selector: selector, Template: pods}},
		"StatefulSet": &appsv1.StatefulSet{ObjectMeta: meta("StatefulSet"), Spec: appsv1.StatefulSetSpec{Replicas: ptr.To[int32](4), Selector: selector, Template: pods}},
	} {
		t.Run(kind, func(t *testing.T) {
			policy := &v1alpha1.LendingPolicy{ObjectMeta: meta(kind), Spec: v1alpha1.LendingPolicySpec{
				TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: kind, Name: target.GetName()}, Owned: ptr.To[int64](8),
				Scaling: v1alpha1.Scaling{Mode: v1alpha1.ScalingManage, Min: 1, Max: ptr.To[int32](6)},
			}}
			for _, object := range []client.Object{target, policy} {
				if err := admin.Create(t.Context(), object); err != nil {
					t.Fatal(err)
				}
			}
			name := "serving/" + policy.Name
			view := &gather.View{Policies: map[string]*v1alpha1.LendingPolicy{name: policy}, Snapshot: lend.Snapshot{
				Lenders: []lend.Lender{{Name: name, Scale: &lend.Scale{Min: 1, Max: 6, Replicas: 4}}},
			}}
			book, err := ledger.Open(filepath.Join(t.TempDir(), "ledger.db"), ledger.Options{Clock: clock.RealClock{}})
			if err != nil {
				t.Fatal(err)
			}
			defer book.Close()
			a := &actuate.Actuator{Client: broker, Live: broker, Ledger: book, Events: &actuate.Events{}, Clock: clock.RealClock{}}
			plan := &lend.Plan{Scales: []lend.ScaleTo{{Lender: name, Replicas: 3, Message: "needs 3 replicas; 4 are set"}}}
			// The controller of the target writes on it too. A plan whose write meets such a
			// write is left to the next decision, which comes to the same.
			labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
				if err := admin.Get(ctx, client.ObjectKeyFromObject(policy), policy); err != nil {
					t.Fatal(err)
				}
				if err := a.Apply(ctx, view, plan); err != nil {
					return false, err.Error()
				}
				if err := admin.Get(ctx, client.ObjectKeyFromObject(target), target); err != nil {
					t.Fatal(err)
				}
				got := replicasOf(target)
				return got == 3, fmt.Sprintf("%d replicas, want 3", got)
			})
		})
	}
}

func replicasOf(target client.Object) int32 {
	switch target := target.(type) {
	case *appsv1.Deployment:
		return *target.Spec.Replicas
	case *appsv1.StatefulSet:
		return *target.Spec.Replicas
	}
	return -1
}

func labClient(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
