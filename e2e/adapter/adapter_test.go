package adapter_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/e2e/adapter"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

func TestMain(m *testing.M) {
	adapter.Main()
	os.Exit(m.Run())
}

const (
	namespace = "serving"
	patience  = 3 * time.Minute
)

// A real HorizontalPodAutoscaler scales on a metric of Prometheus through a real
// custom metrics API; with that killed it says that it cannot see, and goes on where
// it was when that is back.
func TestAutoscalerOnCustomMetrics(t *testing.T) {
	t.Parallel()
	load := &shop{}
	load.total.Store(10)
	server := httptest.NewServer(load)
	t.Cleanup(server.Close)
	load.addr = server.Listener.Addr().String()
	l := labtest.New(t, lab.Options{
		Nodes: []lab.NodeSpec{{Name: "node-0"}}, KubeScheduler: true, SDURL: server.URL + "/targets",
		Autoscaler: &lab.Autoscaler{SyncPeriod: time.Second},
	})
	client := l.Client()
	load.client.Store(&client)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	part, err := adapter.Start(ctx, l, adapter.Rule{
		Metric: "customers", Resource: "pods", Label: "pod", Query: "sum by (pod) (customers{$selector})",
	})
	if err != nil {
		t.Fatal(err)
	}
	install(t, l)
	awaitReplicas(t, l, 2)
	// No other number of replicas is within the tolerance of a tenth: what was heard while
	// they came and went does not last.
	load.total.Store(39)
	awaitReplicas(t, l, 8)

	if err := part.Kill(); err != nil {
		t.Fatal(err)
	}
	awaitActive(t, l, corev1.ConditionFalse)
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := l.WaitAPI(ctx, adapter.Version, false); err != nil {
		t.Fatal(err)
	}
	load.total.Store(14)
	if err := part.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	awaitActive(t, l, corev1.ConditionTrue)
	awaitReplicas(t, l, 3)
}

// shop has a number of customers, who spread evenly over its pods.
type shop struct {
	addr   string
	total  atomic.Int64
	pods   atomic.Int64
	client atomic.Pointer[kubernetes.Interface]
}

// ServeHTTP answers as Prometheus' service discovery and as every pod.
func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/targets" {
		fmt.Fprintf(w, "# TYPE customers gauge\ncustomers %g\n", float64(s.total.Load())/float64(max(s.pods.Load(), 1)))
		return
	}
	groups := []map[string]any{}
	if client := s.client.Load(); client != nil {
		pods, err := (*client).CoreV1().Pods(namespace).List(r.Context(), metav1.ListOptions{FieldSelector: "status.phase=Running"})
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		s.pods.Store(int64(len(pods.Items)))
		for _, pod := range pods.Items {
			groups = append(groups, map[string]any{
				"targets": []string{s.addr}, "labels": map[string]string{"namespace": pod.Namespace, "pod": pod.Name, "__metrics_path__": "/" + pod.Name},
			})
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(groups)
}

func install(t *testing.T, l *lab.Lab) {
	t.Helper()
	if err := l.CreateNamespace(t.Context(), namespace, nil); err != nil {
		t.Fatal(err)
	}
	match := map[string]string{"app": "shop"}
	_, err := l.Client().AppsV1().Deployments(namespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: match},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: match},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: ptr.To[int64](1),
					Containers:                    []corev1.Container{{Name: "main", Image: "registry.invalid/none"}},
				},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	at := func(seconds int32) *autoscalingv2.HPAScalingRules {
		return &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &seconds, Policies: []autoscalingv2.HPAScalingPolicy{
			{Type: autoscalingv2.PodsScalingPolicy, Value: 10, PeriodSeconds: 1},
		}}
	}
	_, err = l.Client().AutoscalingV2().HorizontalPodAutoscalers(namespace).Create(t.Context(), &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "shop"},
			MaxReplicas:    10,
			Metrics: []autoscalingv2.MetricSpec{{
				Type: autoscalingv2.PodsMetricSourceType,
				Pods: &autoscalingv2.PodsMetricSource{
					Metric: autoscalingv2.MetricIdentifier{Name: "customers"},
					Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: resource.NewQuantity(5, resource.DecimalSI)},
				},
			}},
			Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: at(0), ScaleDown: at(2)},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func awaitReplicas(t *testing.T, l *lab.Lab, want int32) {
	t.Helper()
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		d, err := l.Client().AppsV1().Deployments(namespace).Get(ctx, "shop", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return d.Status.ReadyReplicas == want && d.Status.Replicas == want,
			fmt.Sprintf("%d of %d replicas are ready, want %d", d.Status.ReadyReplicas, d.Status.Replicas, want)
	})
}

func awaitActive(t *testing.T, l *lab.Lab, want corev1.ConditionStatus) {
	t.Helper()
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		hpa, err := l.Client().AutoscalingV2().HorizontalPodAutoscalers(namespace).Get(ctx, "shop", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, c := range hpa.Status.Conditions {
			if c.Type == autoscalingv2.ScalingActive {
				return c.Status == want, fmt.Sprintf("ScalingActive is %s: %s", c.Status, c.Message)
			}
		}
		return false, "no condition ScalingActive"
	})
}
