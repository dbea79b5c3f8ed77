// Package catalogue has what each of Ebbtide's programs says at /metrics: the names, types,
// labels and help of its metrics.
//
// It promises that the lists are those of the programs: a test of each program fills the
// metrics that its own constructors register, and compares what a scrape of them gives with
// the list, which its flag -update writes. Rules, dashboards and pages are checked against
// the lists.
package catalogue

import (
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Programs are those with a list, in the order in which they are told of.
var Programs = []string{"broker", "scheduler", "agent"}

// Metric is one of a program's metrics.
type Metric struct {
	Name string `json:"name"`
	// Type is counter, gauge or histogram.
	Type string `json:"type"`
	Help string `json:"help"`
	// Labels by name, each with the values that were seen.
	Labels map[string][]string `json:"labels,omitempty"`
}

//go:embed *.json
var lists embed.FS

// Of is a program's list.
func Of(program string) ([]Metric, error) {
	text, err := lists.ReadFile(program + ".json")
	if err != nil {
		return nil, fmt.Errorf("read the metrics of %s: %w", program, err)
	}
	var list []Metric
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("read the metrics of %s: %w", program, err)
	}
	return list, nil
}

// Read lists what a scrape gave, by name: those whose name begins so.
func Read(families []*dto.MetricFamily, prefix string) []Metric {
	list := []Metric{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), prefix) {
			continue
		}
		m := Metric{Name: f.GetName(), Type: strings.ToLower(f.GetType().String()), Help: f.GetHelp()}
		for _, series := range f.GetMetric() {
			for _, l := range series.GetLabel() {
				m.see(l.GetName(), l.GetValue())
			}
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func (m *Metric) see(label, value string) {
	if m.Labels == nil {
		m.Labels = map[string][]string{}
	}
	if at, seen := slices.BinarySearch(m.Labels[label], value); !seen {
		m.Labels[label] = slices.Insert(m.Labels[label], at, value)
	}
}

// Text is a list as its file has it.
func Text(list []Metric) (string, error) {
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write the metrics: %w", err)
	}
	return string(text) + "\n", nil
}

// Series are the names under which Prometheus has the metric, each with its labels.
func (m *Metric) Series() map[string][]string {
	labels := slices.Sorted(maps.Keys(m.Labels))
	if m.Type != "histogram" {
		return map[string][]string{m.Name: labels}
	}
	return map[string][]string{
		m.Name + "_bucket": append(slices.Clone(labels), "le"), m.Name + "_sum": labels, m.Name + "_count": labels,
	}
}
