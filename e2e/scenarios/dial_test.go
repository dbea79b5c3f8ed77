package scenarios

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/e2e/engine"
)

// dial is a fleet of model servers whose load the test sets by hand. It speaks
// vLLM's metric names to a real Prometheus, which finds the pods through it.
type dial struct {
	server *httptest.Server

	mu      sync.Mutex
	client  kubernetes.Interface
	running float64
	waiting float64
}

func newDial(t *testing.T) *dial {
	d := &dial{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /targets", d.targets)
	mux.HandleFunc("GET /pods/{namespace}/{name}/metrics", d.metrics)
	d.server = httptest.NewServer(mux)
	t.Cleanup(d.server.Close)
	return d
}

// follow makes the dial list the pods of a cluster as its targets.
func (d *dial) follow(client kubernetes.Interface) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.client = client
}

// set gives every replica its requests: how many run, and how many wait.
func (d *dial) set(running, waiting float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running, d.waiting = running, waiting
}

// targets is Prometheus' HTTP service discovery.
func (d *dial) targets(w http.ResponseWriter, r *http.Request) {
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	groups := []group{}
	d.mu.Lock()
	client := d.client
	d.mu.Unlock()
	if client != nil {
		pods, err := client.CoreV1().Pods(onlineNamespace).List(r.Context(), metav1.ListOptions{})
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		for _, pod := range pods.Items {
			if pod.Status.Phase != corev1.PodRunning {
				continue
			}
			groups = append(groups, group{
				Targets: []string{d.server.Listener.Addr().String()},
				Labels: map[string]string{
					"namespace":        pod.Namespace,
					"pod":              pod.Name,
					"__metrics_path__": "/pods/" + pod.Namespace + "/" + pod.Name + "/metrics",
				},
			})
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(groups)
}

func (d *dial) metrics(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	engine.WriteGauges(w, "chat", d.running, d.waiting, d.running/100)
}
