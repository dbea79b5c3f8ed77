package controller

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestChartKnowsTheConfiguration: the schema of the chart's broker.config has each section of
// the file, but for what the chart has values of its own for.
func TestChartKnowsTheConfiguration(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/charts/ebbtide/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	type config struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	var schema struct {
		Properties struct {
			Broker struct {
				Properties struct {
					Config config `json:"config"`
				} `json:"properties"`
			} `json:"broker"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	want := []string{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !slices.Contains([]string{"apiVersion", "kind", "advise"}, name) {
			want = append(want, name)
		}
	}
	got := []string{}
	for name := range schema.Properties.Broker.Properties.Config.Properties {
		got = append(got, name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("broker.config (-configuration +schema):\n%s", diff)
	}
}
