package dcgm_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/agent/dcgm"
)

func TestActivity(t *testing.T) {
	type sample struct {
		Metric map[string]string `json:"metric"`
		Value  [2]any            `json:"value"`
	}
	of := func(value string, labels ...string) sample {
		s := sample{map[string]string{"UUID": "GPU-1"}, [2]any{1e9, value}}
		for i := 0; i < len(labels); i += 2 {
			s.Metric[labels[i]] = labels[i+1]
		}
		return s
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.FormValue("query")
		if !strings.Contains(query, `{UUID=~"GPU-1|GPU-2"}[2m]`) {
			t.Errorf("the query is %s", query)
		}
		samples := []sample{}
		switch {
		case strings.Contains(query, "GR_ENGINE"):
			samples = []sample{
				of("0.25", "GPU_I_ID", "7"), of("0.75", "GPU_I_ID", "7", "instance", "another exporter"),
				of("0", "GPU_I_ID", "8"), of("NaN", "GPU_I_ID", "9"), of("0.5", "GPU_I_ID", "x"), of("0.9"),
			}
		case strings.Contains(query, "DRAM"):
			samples = []sample{of("0.1", "GPU_I_ID", "7")}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "vector", "result": samples}})
	}))
	defer server.Close()
	source, err := dcgm.New(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	got, err := source.Activity(t.Context(), []string{"GPU-1", "GPU-2"})
	if err != nil {
		t.Fatal(err)
	}
	busy, idle, whole := got[agent.ActivityKey{GPU: "GPU-1", GI: 7}], got[agent.ActivityKey{GPU: "GPU-1", GI: 8}], got[agent.ActivityKey{GPU: "GPU-1", GI: -1}]
	if busy.Graphics == nil || *busy.Graphics != 0.75 || busy.DRAM == nil || *busy.DRAM != 0.1 || busy.SM != nil || busy.Source != "dcgm" {
		t.Errorf("the busy instance is %+v", busy)
	}
	if idle.Graphics == nil || *idle.Graphics != 0 || whole.Graphics == nil || *whole.Graphics != 0.9 {
		t.Errorf("idle %+v, whole %+v", idle, whole)
	}
	if _, ok := got[agent.ActivityKey{GPU: "GPU-1", GI: 9}]; ok || len(got) != 3 {
		t.Errorf("what is not a number is one: %+v", got)
	}
	server.Close()
	if _, err := source.Activity(t.Context(), []string{"GPU-1"}); err == nil {
		t.Error("without a server activity is known")
	}
}
