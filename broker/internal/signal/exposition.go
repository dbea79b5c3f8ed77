package signal

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// exposition is what one scrape read: the series by the names under which Prometheus
// would store them.
type exposition struct {
	at     time.Time
	series map[string][]point
}

// point is one series' value.
type point struct {
	labels map[string]string
	value  float64
}

// key tells the series of one name apart.
func (p point) key() string {
	var b strings.Builder
	for _, label := range slices.Sorted(maps.Keys(p.labels)) {
		fmt.Fprintf(&b, "%s=%q,", label, p.labels[label])
	}
	return b.String()
}

// parse reads Prometheus's text format.
func parse(text io.Reader, at time.Time) (exposition, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return exposition{}, fmt.Errorf("read the metrics: %w", err)
	}
	e := exposition{at: at, series: map[string][]point{}}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			e.flatten(name, m)
		}
	}
	return e, nil
}

// flatten adds a metric as the series that it is stored as.
func (e exposition) flatten(name string, m *dto.Metric) {
	labels := map[string]string{}
	for _, pair := range m.GetLabel() {
		labels[pair.GetName()] = pair.GetValue()
	}
	add := func(name string, value float64, more ...string) {
		p := point{labels: labels, value: value}
		if len(more) > 0 {
			p.labels = maps.Clone(labels)
			p.labels[more[0]] = more[1]
		}
		e.series[name] = append(e.series[name], p)
	}
	switch {
	case m.GetGauge() != nil:
		add(name, m.GetGauge().GetValue())
	case m.GetCounter() != nil:
		add(name, m.GetCounter().GetValue())
	case m.GetUntyped() != nil:
		add(name, m.GetUntyped().GetValue())
	case m.GetHistogram() != nil:
		h := m.GetHistogram()
		for _, b := range h.GetBucket() {
			add(name+"_bucket", float64(b.GetCumulativeCount()), "le", strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64))
		}
		add(name+"_sum", h.GetSampleSum())
		add(name+"_count", float64(h.GetSampleCount()))
	case m.GetSummary() != nil:
		s := m.GetSummary()
		add(name+"_sum", s.GetSampleSum())
		add(name+"_count", float64(s.GetSampleCount()))
	}
}

// only keeps the series of the names: the rest of what was once read is not needed.
func (e exposition) only(names map[string]bool) exposition {
	kept := exposition{at: e.at, series: map[string][]point{}}
	for name := range names {
		if points := e.series[name]; points != nil {
			kept.series[name] = points
		}
	}
	return kept
}

// restarted says whether some counter is lower than it was before: then the process is
// another one, and what was before is no beginning for a rate.
func (e exposition) restarted(before exposition) bool {
	for name, points := range before.series {
		old := make(map[string]float64, len(points))
		for _, p := range points {
			old[p.key()] = p.value
		}
		for _, p := range e.series[name] {
			if was, known := old[p.key()]; known && p.value < was {
				return true
			}
		}
	}
	return false
}

// growth is by how much each series grew in a second since before. One that was not
// there yet began at 0.
func (e exposition) growth(before exposition, name string) []point {
	seconds := e.at.Sub(before.at).Seconds()
	old := map[string]float64{}
	for _, p := range before.series[name] {
		old[p.key()] = p.value
	}
	grown := make([]point, 0, len(e.series[name]))
	for _, p := range e.series[name] {
		grown = append(grown, point{labels: p.labels, value: (p.value - old[p.key()]) / seconds})
	}
	return grown
}
