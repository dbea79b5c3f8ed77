package extmetrics

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/metrics/pkg/client/external_metrics"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

const patience = 3 * time.Minute

// TestAutoscalerOnDemand: with the rights that the component gives the broker, a real
// HorizontalPodAutoscaler scales on its namespace's demand, through the API server's
// aggregation layer, and keeps its scale when decisions have stopped; a user without
// rights gets nothing.
func TestAutoscalerOnDemand(t *testing.T) {
	manifests, err := deploy.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	l := labtest.New(t, lab.Options{
		NoPrometheus: true, Manifests: [][]byte{manifests}, Autoscaler: &lab.Autoscaler{SyncPeriod: time.Second},
	})
	clock := clocktesting.NewFakePassiveClock(time.Now())
	board := &Board{Clock: clock, Interval: 15 * time.Second}
	publish := func(units int64) {
		board.Publish(clock.Now(), []Metric{
			{Namespace: "research", Name: WaitingUnits, Queue: "default", Flavor: "h100", Value: units},
			{Namespace: "robotics", Name: WaitingUnits, Queue: "default", Flavor: "h100", Value: 1000},
		})
	}
	publish(8)
	serveIn(t, l, board)
	install(t, l)
	awaitReplicas(t, l, 2)
	publish(20)
	awaitReplicas(t, l, 5)
	// Decisions stop.
	clock.SetTime(clock.Now().Add(2 * time.Minute))
	awaitBlind(t, l)
	awaitReplicas(t, l, 5)

	stranger, err := l.UserConfig("stranger")
	if err != nil {
		t.Fatal(err)
	}
	client, err := external_metrics.NewForConfig(stranger)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.NamespacedMetrics("research").List(WaitingUnits, labels.Everything()); !apierrors.IsForbidden(err) {
		t.Errorf("a stranger gets %v", err)
	}
}

// serveIn serves the board as the broker's service account until the test ends.
func serveIn(t *testing.T, l *lab.Lab, board *Board) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := l.CreateNamespace(ctx, "kube-system", nil); err != nil {
		t.Fatal(err)
	}
	rights, err := os.ReadFile("../../../deploy/kustomize/components/external-metrics/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Apply(ctx, rights); err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := l.KubeconfigFor(ctx, "ebbtide-system", "ebbtide-broker")
	if err != nil {
		t.Fatal(err)
	}
	serving, err := l.Serving("ebbtide-external-metrics")
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(Config{BindAddress: serving.Addr, CertFile: serving.CertFile, KeyFile: serving.KeyFile}, kubeconfig, board)
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Start(running) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	version := schema.GroupVersion{Group: "external.metrics.k8s.io", Version: "v1beta1"}
	if err := l.ServeAPI(ctx, serving, version); err != nil {
		t.Fatal(err)
	}
	if err := l.WaitAPI(ctx, version, true); err != nil {
		t.Fatal(err)
	}
}

// install creates a Deployment and an autoscaler that wants a replica for each four
// units that jobs of its namespace wait for. No pod needs to run for that.
func install(t *testing.T, l *lab.Lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := l.CreateNamespace(ctx, "research", nil); err != nil {
		t.Fatal(err)
	}
	match := map[string]string{"app": "feeder"}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "feeder"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: match},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: match},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "feeder"}}},
			},
		},
	}
	if _, err := l.Client().AppsV1().Deployments("research").Create(ctx, deployment, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	autoscaler := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "feeder"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "feeder"},
			MinReplicas:    ptr.To[int32](1), MaxReplicas: 10,
			Metrics: []autoscalingv2.MetricSpec{{
				Type: autoscalingv2.ExternalMetricSourceType,
				External: &autoscalingv2.ExternalMetricSource{
					Metric: autoscalingv2.MetricIdentifier{Name: WaitingUnits, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{LabelFlavor: "h100"}}},
					Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: resource.NewQuantity(4, resource.DecimalSI)},
				},
			}},
		},
	}
	if _, err := l.Client().AutoscalingV2().HorizontalPodAutoscalers("research").Create(ctx, autoscaler, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// awaitBlind waits until the autoscaler says that it gets no numbers.
func awaitBlind(t *testing.T, l *lab.Lab) {
	t.Helper()
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		a, err := l.Client().AutoscalingV2().HorizontalPodAutoscalers("research").Get(ctx, "feeder", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, c := range a.Status.Conditions {
			if c.Type == autoscalingv2.ScalingActive && c.Status == corev1.ConditionFalse && c.Reason == "FailedGetExternalMetric" {
				return true, ""
			}
		}
		return false, fmt.Sprint(a.Status.Conditions)
	})
}

func awaitReplicas(t *testing.T, l *lab.Lab, want int32) {
	t.Helper()
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		d, err := l.Client().AppsV1().Deployments("research").Get(ctx, "feeder", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		a, err := l.Client().AutoscalingV2().HorizontalPodAutoscalers("research").Get(ctx, "feeder", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return *d.Spec.Replicas == want, fmt.Sprintf("%d replicas; %v", *d.Spec.Replicas, a.Status.Conditions)
	})
}
