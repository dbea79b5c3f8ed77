// Package cataloguetest compares a program's metrics with its list.
//
// It promises that a metric that was registered and is not in the scrape fails the test: a
// list is never shorter because a test filled too little.
package cataloguetest

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbtide/ebbtide/deploy/monitoring/catalogue"
)

// Compare compares the metrics in a scrape with the program's list, or writes it.
func Compare(t testing.TB, program string, got []catalogue.Metric, update bool) {
	t.Helper()
	text, err := catalogue.Text(got)
	if err != nil {
		t.Fatal(err)
	}
	_, here, _, _ := runtime.Caller(0)
	path := filepath.Join(filepath.Dir(here), "..", program+".json")
	if update {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("the metrics of %s are not those of its list, which -update writes (-list +program):\n%s", program, diff)
	}
}

// Registry is a registry that knows which metrics were registered.
type Registry struct {
	*prometheus.Registry
	collectors []prometheus.Collector
}

// NewRegistry returns an empty one.
func NewRegistry() *Registry { return &Registry{Registry: prometheus.NewPedanticRegistry()} }

// Register implements prometheus.Registerer.
func (r *Registry) Register(c prometheus.Collector) error {
	r.collectors = append(r.collectors, c)
	return r.Registry.Register(c)
}

// MustRegister implements prometheus.Registerer.
func (r *Registry) MustRegister(list ...prometheus.Collector) {
	r.collectors = append(r.collectors, list...)
	r.Registry.MustRegister(list...)
}

var nameInDesc = regexp.MustCompile(`fqName: "(\w+)"`)

// Scrape lists what there is, and fails if something that was registered is missing.
func (r *Registry) Scrape(t testing.TB) []catalogue.Metric {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	list := catalogue.Read(families, "")
	for _, c := range r.collectors {
		descs := make(chan *prometheus.Desc)
		go func() {
			defer close(descs)
			c.Describe(descs)
		}()
		for d := range descs {
			name := nameInDesc.FindStringSubmatch(d.String())
			if name == nil || !slices.ContainsFunc(list, func(m catalogue.Metric) bool { return m.Name == name[1] }) {
				t.Errorf("%s is registered and not in the scrape: this test fills too little", d)
			}
		}
	}
	return list
}
