package signal

import (
	"bytes"
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

// names are the metrics that the spec reads, each with the measure that it is for.
func (s Spec) names() map[string]*Metric {
	names := map[string]*Metric{}
	p := profiles[s.Profile]
	for i := range p.Measures {
		m := &p.Measures[i]
		if !p.wanted(m, s) {
			continue
		}
		for _, series := range slices.Concat(m.Series, m.Over) {
			names[series.Name] = m
		}
	}
	return names
}

// suffixes are what a family's series have behind its name.
var suffixes = []string{"_bucket", "_sum", "_count", "_total"}

func family(name string) string {
	for _, suffix := range suffixes {
		if base, found := strings.CutSuffix(name, suffix); found {
			return base
		}
	}
	return name
}

// only is what the spec reads of Prometheus's text format. A pod can say much more, and
// what is parsed takes 25 times its length.
func (s Spec) only(text []byte) ([]byte, error) {
	wanted := map[string]bool{}
	for name := range s.names() {
		wanted[family(name)] = true
	}
	var kept []byte
	series := 0
	for line := range bytes.Lines(text) {
		word := bytes.TrimPrefix(bytes.TrimPrefix(line, []byte("# TYPE ")), []byte("# HELP "))
		if end := bytes.IndexAny(word, "{ \t\n"); end >= 0 {
			word = word[:end]
		}
		if !wanted[family(string(word))] {
			continue
		}
		if series++; series > maxSeries {
			return nil, fmt.Errorf("it has more than %d series of what is read", maxSeries)
		}
		kept = append(kept, line...)
	}
	return kept, nil
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
