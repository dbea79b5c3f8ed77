package extmetrics

import (
	"context"
	"errors"
	"fmt"
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
	"k8s.io/utils/clock"
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
// Prometheus puts the broker's own into namespace. It has no numbers before the first
// decision, nor once the last one is so old that there should have been another three
// since, and older than a minute: what was true then is not known now. The zero Board is
// ready for use; Clock and Interval are set before that. It may be used concurrently.
type Board struct {
	// Clock tells how old the numbers are; nil is the real one.
	Clock clock.PassiveClock
	// Interval is the longest between two decisions.
	Interval time.Duration

	mu      sync.RWMutex
	at      time.Time
	metrics []Metric
}

// leastLimit is how old numbers may always be: a decision may take half a minute until it
// is carried out.
const leastLimit = time.Minute

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

// limit is how old the numbers may be.
func (b *Board) limit() time.Duration { return max(3*b.Interval, leastLimit) }

// read returns the numbers and when they were true, or why there are none.
func (b *Board) read() (time.Time, []Metric, error) {
	b.mu.RLock()
	at, metrics := b.at, b.metrics
	b.mu.RUnlock()
	if at.IsZero() {
		return time.Time{}, nil, errors.New("the broker has not made a decision yet")
	}
	now := time.Now()
	if b.Clock != nil {
		now = b.Clock.Now()
	}
	// A clock that was set back far makes old numbers look new.
	if age := now.Sub(at); age > b.limit() || age < -b.limit() {
		return time.Time{}, nil, fmt.Errorf("the broker's last decision is of %s, more than %s ago: what it said is not known to be true any more",
			at.UTC().Format(time.RFC3339), b.limit())
	}
	return at, metrics, nil
}

// GetExternalMetric returns the series of a metric in a namespace that the selector
// selects by their labels; none if the namespace has no queue and no loan. It fails with
// 503 while there are no numbers, and with 404 for a name that is none of the four. A
// HorizontalPodAutoscaler that gets an error keeps its scale, or goes up by its other
// metrics; other readers that add up an empty list would have 0, and go down.
func (b *Board) GetExternalMetric(_ context.Context, namespace string, selector labels.Selector, info provider.ExternalMetricInfo) (*external_metrics.ExternalMetricValueList, error) {
	at := slices.IndexFunc(descriptions, func(d description) bool { return d.name == info.Metric })
	if at < 0 {
		return nil, provider.NewMetricNotFoundError(schema.GroupResource{Group: external_metrics.GroupName, Resource: info.Metric}, info.Metric)
	}
	when, metrics, err := b.read()
	if err != nil {
		return nil, apierrors.NewServiceUnavailable(err.Error())
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

// Collect implements prometheus.Collector. Where there are no numbers it gives no series.
func (b *Board) Collect(to chan<- prometheus.Metric) {
	_, metrics, err := b.read()
	if err != nil {
		return
	}
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
