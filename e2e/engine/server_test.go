package engine

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

func serve(t *testing.T, fleets ...*Fleet) *Server {
	t.Helper()
	s, err := NewServer()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fleets {
		s.Add(f)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestMetricsAsVLLMShowsThem(t *testing.T) {
	f := newTestFleet(t, DefaultModel("deepseek-r1"), short, steady(4), 1)
	for at := time.Second; at <= time.Minute; at += time.Second {
		f.Advance(at)
	}
	s := serve(t, f)
	code, body := get(t, strings.TrimSuffix(s.TargetsURL(), "/targets")+"/pods/serving/chat-0/metrics")
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(body)); err != nil {
		t.Errorf("exposition cannot be parsed: %v", err)
	}
	const golden = "testdata/metrics.txt"
	if *rewrite {
		if err := os.WriteFile(golden, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), body); diff != "" {
		t.Errorf("metrics differ (-want +got):\n%s", diff)
	}
}

func TestTargetsAndReadiness(t *testing.T) {
	f := newTestFleet(t, testModel(), short, steady(1), 0)
	s := serve(t, f)
	base := strings.TrimSuffix(s.TargetsURL(), "/targets")

	if _, body := get(t, s.TargetsURL()); body != "[]\n" {
		t.Errorf("no replica: targets are %q, want an empty list", body)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: "chat-0"},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	f.observe(pod)
	if code, _ := get(t, base+"/pods/serving/chat-0/metrics"); code != http.StatusNotFound {
		t.Errorf("pending pod: %d, want 404", code)
	}
	pod.Status.Phase = corev1.PodRunning
	f.observe(pod)
	if code, _ := get(t, base+"/pods/serving/chat-0/metrics"); code != http.StatusServiceUnavailable {
		t.Errorf("loading pod: %d, want 503", code)
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	f.observe(pod)
	if code, _ := get(t, base+"/pods/serving/chat-0/metrics"); code != http.StatusOK {
		t.Errorf("ready pod: %d, want 200", code)
	}
	var list []target
	_, body := get(t, s.TargetsURL())
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatal(err)
	}
	want := []target{{
		Targets: []string{strings.TrimPrefix(base, "http://")},
		Labels: map[string]string{
			"__metrics_path__": "/pods/serving/chat-0/metrics", "namespace": "serving", "pod": "chat-0",
		},
	}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	now := metav1.Now()
	pod.DeletionTimestamp = &now
	f.observe(pod)
	if code, _ := get(t, base+"/pods/serving/chat-0/metrics"); code != http.StatusServiceUnavailable {
		t.Errorf("pod being deleted: %d, want 503", code)
	}
}
