package extmetrics

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/metrics/pkg/apis/external_metrics"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
)

// descriptions of the metrics, with the labels that each has beside the namespace.
var descriptions = []description{
	{WaitingJobs, "Jobs that wait and could be admitted, by queue.", []string{LabelQueue}},
	{WaitingUnits, "Units that those jobs wait for, by queue and flavor.", []string{LabelQueue, LabelFlavor}},
	{LoanUnits, "Units that jobs hold beyond their tenant's nominal quota, by flavor and state: Active, Reclaiming.", []string{LabelFlavor, LabelState}},
	{LendableUnits, "Units that the namespace's tenant could get on loan now, by flavor. Namespaces of one tenant share them: do not add them up.", []string{LabelFlavor}},
}

type description struct {
	name, help string
	labels     []string
}

// label returns the value of one of the labels.
func (m Metric) label(name string) string {
	switch name {
	case LabelQueue:
		return m.Queue
	case LabelFlavor:
		return m.Flavor
	}
	return m.State
}

// Board holds the numbers of the last decision. It is a provider of external metrics,
// and a prometheus.Collector: there, the namespace is the label queue_namespace, since
// Prometheus puts the broker's own into namespace. The zero Board has none yet. It may
// be used concurrently.
type Board struct {
	mu      sync.RWMutex
	at      time.Time
	metrics []Metric
}

var (
	_ provider.ExternalMetricsProvider = (*Board)(nil)
	_ prometheus.Collector             = (*Board)(nil)
)

// Publish replaces the numbers by those of a decision made at the given time. The
// slice must not be changed afterwards.
func (b *Board) Publish(at time.Time, metrics []Metric) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at, b.metrics = at, metrics
}

func (b *Board) read() (time.Time, []Metric) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.at, b.metrics
}

// GetExternalMetric returns the series of a metric in a namespace that the selector
// selects by their labels; none if the namespace has no queue and no loan. It fails
// while no decision was made, and for a name that is none of the four.
func (b *Board) GetExternalMetric(_ context.Context, namespace string, selector labels.Selector, info provider.ExternalMetricInfo) (*external_metrics.ExternalMetricValueList, error) {
	at := slices.IndexFunc(descriptions, func(d description) bool { return d.name == info.Metric })
	if at < 0 {
		return nil, provider.NewMetricNotFoundError(schema.GroupResource{Group: external_metrics.GroupName, Resource: info.Metric}, info.Metric)
	}
	when, metrics := b.read()
	if when.IsZero() {
		return nil, apierrors.NewServiceUnavailable("the broker has not made a decision yet")
	}
	list := &external_metrics.ExternalMetricValueList{Items: []external_metrics.ExternalMetricValue{}}
	for _, m := range metrics {
		if m.Namespace != namespace || m.Name != info.Metric {
			continue
		}
		set := labels.Set{}
		for _, name := range descriptions[at].labels {
			set[name] = m.label(name)
		}
		if selector.Matches(set) {
			list.Items = append(list.Items, external_metrics.ExternalMetricValue{
				MetricName: m.Name, MetricLabels: set, Timestamp: metav1.Time{Time: when},
				Value: *resource.NewQuantity(m.Value, resource.DecimalSI),
			})
		}
	}
	return list, nil
}

// ListAllExternalMetrics returns the four names.
func (b *Board) ListAllExternalMetrics() []provider.ExternalMetricInfo {
	list := make([]provider.ExternalMetricInfo, len(descriptions))
	for i, d := range descriptions {
		list[i].Metric = d.name
	}
	return list
}

// Describe implements prometheus.Collector.
func (b *Board) Describe(to chan<- *prometheus.Desc) {
	for _, d := range descs {
		to <- d
	}
}

// Collect implements prometheus.Collector. Before the first decision there is nothing.
func (b *Board) Collect(to chan<- prometheus.Metric) {
	_, metrics := b.read()
	for _, m := range metrics {
		for i, d := range descriptions {
			if d.name != m.Name {
				continue
			}
			values := []string{m.Namespace}
			for _, name := range d.labels {
				values = append(values, m.label(name))
			}
			to <- prometheus.MustNewConstMetric(descs[i], prometheus.GaugeValue, float64(m.Value), values...)
		}
	}
}

// descs are the descriptions as Prometheus has them.
var descs = func() []*prometheus.Desc {
	list := make([]*prometheus.Desc, len(descriptions))
	for i, d := range descriptions {
		list[i] = prometheus.NewDesc(d.name, d.help, slices.Concat([]string{"queue_namespace"}, d.labels), nil)
	}
	return list
}()
