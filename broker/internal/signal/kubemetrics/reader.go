package kubemetrics

import (
	"context"
	"fmt"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/metrics/pkg/apis/custom_metrics/v1beta2"
	"k8s.io/metrics/pkg/client/custom_metrics"
	"k8s.io/metrics/pkg/client/external_metrics"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/broker/internal/signal"
)

const (
	// quorum is the share of a target's pods that must have a value.
	quorum = 0.9
	// futureTolerance is by how much clocks may differ.
	futureTolerance = 5 * time.Second
	// maxPlausible: adapters pass on what exporters write for "blank".
	maxPlausible = 1e15
)

// Reader reads signals of KindPods, KindObject and KindExternal. It is a
// signal.ValueReader and may be used concurrently.
type Reader struct {
	custom   custom_metrics.CustomMetricsClient
	external external_metrics.ExternalMetricsClient
	mapper   meta.RESTMapper
	apis     *apis
	clock    clock.PassiveClock
}

// New returns a reader that asks the API server of config. One question takes no
// longer than timeout, whatever config says; the libraries' clients know no context,
// so one that ends cuts no question short. The mapper knows the kinds that a policy's
// object metric may name. Nothing is asked before the first Read.
func New(config *rest.Config, mapper meta.RESTMapper, timeout time.Duration, clk clock.PassiveClock) (*Reader, error) {
	if timeout <= 0 {
		return nil, fmt.Errorf("read metrics APIs: the timeout must be above 0s, not %s", timeout)
	}
	config = rest.CopyConfig(config)
	// The poller asks no more often than once in an interval and target; a limiter of
	// its own would only make readings late.
	config.Timeout, config.QPS, config.RateLimiter = timeout, -1, nil
	config.Wrap(signal.Bounded) // behind these APIs are adapters that anybody may have written
	served, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client of the discovery API: %w", err)
	}
	external, err := external_metrics.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client of the external metrics API: %w", err)
	}
	versions := custom_metrics.NewAvailableAPIsGetter(served)
	return &Reader{
		custom: custom_metrics.NewForConfig(config, mapper, versions), external: external, mapper: mapper,
		apis: &apis{groups: served, versions: versions}, clock: clk,
	}, nil
}

// Read reads one signal. Its errors are for the policy's owner.
func (r *Reader) Read(ctx context.Context, namespace string, s signal.Spec) (signal.Reading, error) {
	if err := ctx.Err(); err != nil {
		return signal.Reading{}, fmt.Errorf("read metric %q: %w", s.Metric, err)
	}
	for _, part := range []string{s.Metric, s.Object.Name} {
		if problems := content.IsPathSegmentName(part); len(problems) > 0 {
			return signal.Reading{}, fmt.Errorf("%s: the name %q %s", s.Name, part, problems[0])
		}
	}
	switch s.Kind {
	case signal.KindPods:
		return r.pods(namespace, s)
	case signal.KindObject:
		return r.object(namespace, s)
	case signal.KindExternal:
		return r.sum(namespace, s)
	}
	return signal.Reading{}, fmt.Errorf("a signal of kind %s is in no metrics API", s.Kind)
}

// pods is the mean over the target's pods, as an HPA's: the metric of all pods of the
// namespace, and of these the target's.
func (r *Reader) pods(namespace string, s signal.Spec) (signal.Reading, error) {
	if len(s.Pods) == 0 {
		return signal.Reading{}, fmt.Errorf("metric %q: no pod of the target is ready", s.Metric)
	}
	list, err := r.custom.NamespacedMetrics(namespace).GetForObjects(
		schema.GroupKind{Kind: "Pod"}, labels.Everything(), s.Metric, selector(s))
	if err != nil {
		return signal.Reading{}, r.apis.explain(custom, s.Metric, err)
	}
	values := map[string]signal.Reading{}
	for i := range list.Items {
		m := &list.Items[i]
		reading, err := r.customValue(m)
		if err != nil {
			continue // like a pod without a value
		}
		// Several series of one pod: the highest, and the oldest time.
		if have, twice := values[m.DescribedObject.Name]; twice {
			reading = signal.Reading{Value: max(have.Value, reading.Value), At: older(have.At, reading.At)}
		}
		values[m.DescribedObject.Name] = reading
	}
	return mean(s, values)
}

// mean joins the values of the target's pods. Those that have none count as the
// highest, because overload is a common reason not to be heard, and as Silent, because
// that may be too little.
func mean(s signal.Spec, values map[string]signal.Reading) (signal.Reading, error) {
	var sum, highest float64
	var at time.Time
	heard := 0
	for _, pod := range s.Pods {
		value, ok := values[pod]
		if !ok {
			continue
		}
		heard++
		sum += value.Value
		highest = max(highest, value.Value)
		at = older(at, value.At)
	}
	all := len(s.Pods)
	switch {
	case heard == 0:
		return signal.Reading{}, fmt.Errorf("metric %q: none of %d ready pods has a value", s.Metric, all)
	case float64(heard) < quorum*float64(all):
		return signal.Reading{}, fmt.Errorf("metric %q: only %d of %d ready pods have a value", s.Metric, heard, all)
	}
	sum += highest * float64(all-heard)
	return signal.Reading{Value: sum / float64(all), At: at, Silent: all - heard}, nil
}

// object is the metric of one object of the policy's namespace.
func (r *Reader) object(namespace string, s signal.Spec) (signal.Reading, error) {
	gv, err := schema.ParseGroupVersion(s.Object.APIVersion)
	if err != nil {
		return signal.Reading{}, fmt.Errorf("%s.object.object.apiVersion: %w", s.Name, err)
	}
	kind := schema.GroupKind{Group: gv.Group, Kind: s.Object.Kind}
	metrics := r.custom.NamespacedMetrics(namespace)
	if kind == (schema.GroupKind{Kind: "Namespace"}) {
		if s.Object.Name != namespace {
			return signal.Reading{}, fmt.Errorf("%s.object.object.name: must be the policy's namespace, %s", s.Name, namespace)
		}
		metrics = r.custom.RootScopedMetrics()
	}
	// The client would not say of its error that it is this one.
	if _, err := r.mapper.RESTMapping(kind); meta.IsNoMatchError(err) {
		return signal.Reading{}, fmt.Errorf("metric %q: the cluster has no kind %s", s.Metric, kind)
	}
	m, err := metrics.GetForObject(kind, s.Object.Name, s.Metric, selector(s))
	if err != nil {
		return signal.Reading{}, r.apis.explain(custom, s.Metric, err)
	}
	reading, err := r.customValue(m)
	if err != nil {
		return signal.Reading{}, fmt.Errorf("metric %q of %s %s: %w", s.Metric, kind, s.Object.Name, err)
	}
	return reading, nil
}

// sum is that over all series of an external metric. One that cannot be true makes
// the sum unknown.
func (r *Reader) sum(namespace string, s signal.Spec) (signal.Reading, error) {
	list, err := r.external.NamespacedMetrics(namespace).List(s.Metric, selector(s))
	if err != nil {
		return signal.Reading{}, r.apis.explain(external, s.Metric, err)
	}
	if len(list.Items) == 0 {
		return signal.Reading{}, noValues(external, s.Metric)
	}
	var total signal.Reading
	for i := range list.Items {
		reading, err := r.reading(list.Items[i].Value, list.Items[i].Timestamp)
		if err != nil {
			return signal.Reading{}, fmt.Errorf("metric %q: %w", s.Metric, err)
		}
		total = signal.Reading{Value: total.Value + reading.Value, At: older(total.At, reading.At)}
	}
	if total.Value > maxPlausible {
		return signal.Reading{}, fmt.Errorf("metric %q: the sum %g cannot be true", s.Metric, total.Value)
	}
	return total, nil
}

func (r *Reader) customValue(m *v1beta2.MetricValue) (signal.Reading, error) {
	return r.reading(m.Value, m.Timestamp)
}

func (r *Reader) reading(value resource.Quantity, at metav1.Time) (signal.Reading, error) {
	v := value.AsApproximateFloat64()
	switch {
	case math.IsNaN(v) || v < 0 || v > maxPlausible:
		return signal.Reading{}, fmt.Errorf("the value %s cannot be true", value.String())
	case at.IsZero():
		return signal.Reading{}, fmt.Errorf("the value has no timestamp, so its age is not known")
	case at.After(r.clock.Now().Add(futureTolerance)):
		return signal.Reading{}, fmt.Errorf("the value is from the future")
	}
	return signal.Reading{Value: v, At: at.Time}, nil
}

// selector selects a metric's series, as the selector of an HPA's metric does.
func selector(s signal.Spec) labels.Selector { return labels.SelectorFromSet(s.MatchLabels) }

// older is the earlier of two times; the zero time is none.
func older(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
