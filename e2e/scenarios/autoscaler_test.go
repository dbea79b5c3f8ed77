package scenarios

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/e2e/adapter"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// inFlight is the metric that the service's autoscaler looks at.
const inFlight = "requests_in_flight"

// adapt starts a custom metrics API that knows the requests in flight of each pod.
func (w *town) adapt() *lab.Part {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	part, err := adapter.Start(ctx, w.Lab, adapter.Rule{
		Metric: inFlight, Resource: "pods", Label: "pod",
		Query: "sum by (pod) (vllm:num_requests_running{$selector} + vllm:num_requests_waiting{$selector})",
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return part
}

// autoscale gives the service a real HorizontalPodAutoscaler, which wants so many
// requests in flight at each replica.
func (w *town) autoscale(perReplica int64, most int32) {
	w.t.Helper()
	steps := func(window, pods int32) *autoscalingv2.HPAScalingRules {
		return &autoscalingv2.HPAScalingRules{
			StabilizationWindowSeconds: ptr.To(window),
			Policies:                   []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: pods, PeriodSeconds: 1}},
		}
	}
	w.create(&autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: onlineNamespace, Name: "chat"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "chat"},
			MinReplicas:    ptr.To[int32](1), MaxReplicas: most,
			Metrics: []autoscalingv2.MetricSpec{{
				Type: autoscalingv2.PodsMetricSourceType,
				Pods: &autoscalingv2.PodsMetricSource{
					Metric: autoscalingv2.MetricIdentifier{Name: inFlight},
					Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: resource.NewQuantity(perReplica, resource.DecimalSI)},
				},
			}},
			Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: steps(0, 4), ScaleDown: steps(3, 1)},
		},
	})
}

// awaitSight waits until the service's autoscaler says whether it sees its metric.
func (w *town) awaitSight(want corev1.ConditionStatus) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		hpa, err := w.Client().AutoscalingV2().HorizontalPodAutoscalers(onlineNamespace).Get(ctx, "chat", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, c := range hpa.Status.Conditions {
			if c.Type == autoscalingv2.ScalingActive {
				return c.Status == want, fmt.Sprintf("ScalingActive is %s: %s", c.Status, c.Message)
			}
		}
		return false, "the autoscaler has no condition ScalingActive"
	})
}

// throughout checks, for as long as d, that exactly these jobs have a loan.
func (w *town) throughout(d time.Duration, jobs ...string) {
	w.t.Helper()
	end := time.After(d)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	slices.Sort(jobs)
	for {
		select {
		case <-end:
			return
		case <-w.t.Context().Done():
			return
		case <-tick.C:
		}
		loans, err := w.loans(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		var have []string
		for job := range loans {
			have = append(have, job)
		}
		slices.Sort(have)
		if !slices.Equal(have, jobs) {
			w.t.Fatalf("the jobs %v have a loan, want %v all the time", have, jobs)
		}
	}
}

// An autoscaler that lost its metrics is blind, and the broker, which still sees the
// load, does not think itself wiser: nothing new is lent, what is lent stays, and a
// load that rises is reason enough to take it back. Once it sees again, all goes on.
func TestMetricsAdapterDies(t *testing.T) {
	t.Parallel()
	d := newDial(t)
	w := raise(t, 3, lab.Options{
		SDURL: d.server.URL + "/targets", Broker: brokerProgram(), Autoscaler: &lab.Autoscaler{SyncPeriod: time.Second},
	})
	w.dial = d
	d.follow(w.Client())
	w.settle(24)
	w.dial.set(2, 0)
	w.serve(1, 8, 24)
	w.awaitBound(onlineNamespace, 1)
	part := w.adapt()
	w.autoscale(7, 3)
	w.awaitSight(corev1.ConditionTrue)
	w.submit("before", 1, 8, nil)
	w.awaitLoans("before")
	w.awaitBound(trainingNamespace, 1)

	if err := part.Kill(); err != nil {
		t.Fatal(err)
	}
	w.awaitSight(corev1.ConditionFalse)
	w.awaitVerdict("Lender/serving/chat", "AutoscalerBlind") // the broker has heard of it, too
	w.submit("after", 1, 8, nil)
	w.awaitVerdict("Job/research/after", "NoLendableUnits")
	// Longer than the broker would bear it not to know the load: the loan stays.
	w.throughout(15*time.Second, "before")

	w.dial.set(10, 8) // 18 requests, and one replica is good for 7: three are needed
	w.awaitLoans()
	w.awaitEntry("before", "RECLAIM_DONE")

	w.dial.set(2, 0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := part.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	w.awaitSight(corev1.ConditionTrue)
	w.awaitLoans("before", "after")
	w.closeTheBooks()
}
