package adapter

import (
	"context"
	"fmt"
	"math"
	"time"

	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/metrics/pkg/apis/custom_metrics"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider/helpers"
)

// queryTimeout bounds one question to Prometheus.
const queryTimeout = 2 * time.Second

// source answers PromQL; Prometheus' API is one.
type source interface {
	Query(ctx context.Context, query string, at time.Time, opts ...promv1.Option) (model.Value, promv1.Warnings, error)
}

// metrics implements provider.CustomMetricsProvider.
type metrics struct {
	rules  []Rule
	source source
	mapper apimeta.RESTMapper
	client dynamic.Interface
	now    func() time.Time
}

// ListAllMetrics returns the metrics of all rules.
func (m *metrics) ListAllMetrics() []provider.CustomMetricInfo {
	list := make([]provider.CustomMetricInfo, len(m.rules))
	for i, r := range m.rules {
		list[i] = provider.CustomMetricInfo{GroupResource: schema.ParseGroupResource(r.Resource), Namespaced: true, Metric: r.Metric}
	}
	return list
}

// GetMetricByName returns the metric of one object.
func (m *metrics) GetMetricByName(ctx context.Context, name types.NamespacedName, info provider.CustomMetricInfo, selector labels.Selector) (*custom_metrics.MetricValue, error) {
	values, err := m.values(ctx, name.Namespace, []string{name.Name}, info, selector)
	if err != nil {
		return nil, err
	}
	if len(values) == 0 {
		return nil, provider.NewMetricNotFoundForError(info.GroupResource, info.Metric, name.Name)
	}
	return &values[0], nil
}

// GetMetricBySelector returns the metric of all objects that have one.
func (m *metrics) GetMetricBySelector(ctx context.Context, namespace string, selector labels.Selector, info provider.CustomMetricInfo, metricSelector labels.Selector) (*custom_metrics.MetricValueList, error) {
	names, err := helpers.ListObjectNames(m.mapper, m.client, namespace, selector, info)
	if err != nil {
		return nil, fmt.Errorf("list the %s that %q selects: %w", info.GroupResource, selector, err)
	}
	list := &custom_metrics.MetricValueList{}
	if len(names) == 0 {
		return list, nil
	}
	list.Items, err = m.values(ctx, namespace, names, info, metricSelector)
	return list, err
}

func (m *metrics) values(ctx context.Context, namespace string, names []string, info provider.CustomMetricInfo, selector labels.Selector) ([]custom_metrics.MetricValue, error) {
	rule, found := m.rule(info)
	if !found {
		return nil, provider.NewMetricNotFoundError(info.GroupResource, info.Metric)
	}
	query, err := rule.promQL(namespace, names, selector)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, _, err := m.source.Query(ctx, query, m.now())
	if err != nil {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("ask prometheus for %s: %v", info.Metric, err))
	}
	vector, ok := answer.(model.Vector)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("metric %s: the query yields a %s, want a vector", info.Metric, answer.Type()))
	}
	return m.describe(vector, namespace, rule, info)
}

// describe says what each sample is about.
func (m *metrics) describe(vector model.Vector, namespace string, rule Rule, info provider.CustomMetricInfo) ([]custom_metrics.MetricValue, error) {
	var values []custom_metrics.MetricValue
	for _, sample := range vector {
		value, name := float64(sample.Value), string(sample.Metric[model.LabelName(rule.Label)])
		if math.IsNaN(value) || math.IsInf(value, 0) || name == "" {
			continue
		}
		object, err := helpers.ReferenceFor(m.mapper, types.NamespacedName{Namespace: namespace, Name: name}, info)
		if err != nil {
			return nil, fmt.Errorf("find the kind of %s: %w", info.GroupResource, err)
		}
		values = append(values, custom_metrics.MetricValue{
			DescribedObject: object,
			Metric:          custom_metrics.MetricIdentifier{Name: info.Metric},
			Timestamp:       metav1.Time{Time: sample.Timestamp.Time()},
			Value:           *resource.NewMilliQuantity(int64(math.Round(value*1000)), resource.DecimalSI),
		})
	}
	return values, nil
}

func (m *metrics) rule(info provider.CustomMetricInfo) (Rule, bool) {
	for _, r := range m.rules {
		if r.Metric == info.Metric && schema.ParseGroupResource(r.Resource) == info.GroupResource {
			return r, true
		}
	}
	return Rule{}, false
}
