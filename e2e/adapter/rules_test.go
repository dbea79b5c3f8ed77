package adapter

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
)

var inFlight = Rule{
	Metric: "requests_in_flight", Resource: "pods", Label: "pod",
	Query: "sum by (pod) (running{$selector} + waiting{$selector})",
}

func TestARuleBecomesPromQL(t *testing.T) {
	selector, err := labels.Parse("model_name=chat")
	if err != nil {
		t.Fatal(err)
	}
	got, err := inFlight.promQL("serving", []string{"b.c", "a"}, selector)
	if err != nil {
		t.Fatal(err)
	}
	const matchers = `namespace="serving",pod=~"a|b\\.c",model_name="chat"`
	want := "sum by (pod) (running{" + matchers + "} + waiting{" + matchers + "})"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("PromQL (-want +got):\n%s", diff)
	}
	if selector, err = labels.Parse("model_name in (a,b)"); err != nil {
		t.Fatal(err)
	}
	if got, err := inFlight.promQL("serving", []string{"a"}, selector); err == nil {
		t.Errorf("%q, want an error: a set is not asked for as one value", got)
	}
}

func TestABadRuleSaysWhatIsWrong(t *testing.T) {
	err := Rule{Metric: "m", Query: "up"}.Validate()
	for _, want := range []string{"Resource", "Label", Selector} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	if err := inFlight.Validate(); err != nil {
		t.Errorf("a good rule: %v", err)
	}
}

// answers is a Prometheus that says the same whatever it is asked.
type answers struct {
	value model.Value
	err   error
	asked string
}

func (a *answers) Query(_ context.Context, query string, _ time.Time, _ ...promv1.Option) (model.Value, promv1.Warnings, error) {
	a.asked = query
	return a.value, nil, a.err
}

func newTestMetrics(t *testing.T, source *answers) *metrics {
	t.Helper()
	mapper := apimeta.NewDefaultRESTMapper([]schema.GroupVersion{corev1.SchemeGroupVersion})
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Pod"), apimeta.RESTScopeNamespace)
	pod := func(name, app string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: name, Labels: map[string]string{"app": app}}}
	}
	client := dynamicfake.NewSimpleDynamicClient(clientgoscheme.Scheme, pod("chat-0", "chat"), pod("chat-1", "chat"), pod("other", "other"))
	return &metrics{rules: []Rule{inFlight}, source: source, mapper: mapper, client: client, now: time.Now}
}

var podMetric = provider.CustomMetricInfo{GroupResource: schema.GroupResource{Resource: "pods"}, Namespaced: true, Metric: inFlight.Metric}

// A pod that nothing was heard of has no value, nor has one whose value is no number.
func TestAPodWithoutASampleHasNoValue(t *testing.T) {
	series := func(pod string, v float64) *model.Sample {
		return &model.Sample{Metric: model.Metric{"pod": model.LabelValue(pod)}, Value: model.SampleValue(v), Timestamp: 5000}
	}
	source := &answers{value: model.Vector{series("chat-0", 2.5), series("chat-1", math.NaN())}}
	m := newTestMetrics(t, source)
	list, err := m.GetMetricBySelector(t.Context(), "serving", labels.SelectorFromSet(labels.Set{"app": "chat"}), podMetric, labels.Everything())
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 || list.Items[0].DescribedObject.Name != "chat-0" || list.Items[0].Value.MilliValue() != 2500 ||
		!list.Items[0].Timestamp.Time.Equal(time.Unix(5, 0)) {
		t.Errorf("%+v, want 2.5 for chat-0 alone, at 5s", list.Items)
	}
	if want := `pod=~"chat-0|chat-1"`; !strings.Contains(source.asked, want) {
		t.Errorf("asked %s, want %s in it", source.asked, want)
	}
	source.value = model.Vector{}
	if _, err := m.GetMetricByName(t.Context(), types.NamespacedName{Namespace: "serving", Name: "chat-1"}, podMetric, labels.Everything()); !apierrors.IsNotFound(err) {
		t.Errorf("a pod without a sample by name: %v, want not found", err)
	}
}

func TestWithoutPrometheusThereIsAnError(t *testing.T) {
	m := newTestMetrics(t, &answers{err: errors.New("connection refused")})
	list, err := m.GetMetricBySelector(t.Context(), "serving", labels.Everything(), podMetric, labels.Everything())
	if !apierrors.IsServiceUnavailable(err) {
		t.Errorf("%+v, %v; want service unavailable", list, err)
	}
	unknown := podMetric
	unknown.Metric = "other"
	if _, err := m.GetMetricBySelector(t.Context(), "serving", labels.Everything(), unknown, labels.Everything()); !apierrors.IsNotFound(err) {
		t.Errorf("a metric without a rule: %v, want not found", err)
	}
}
