package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/e2e/engine"
)

// slots is how many requests a replica serves at once.
const slots = 10

// dial answers for all replicas of the services, with the load that is set. It speaks
// vLLM's metric names to a real Prometheus, which finds the pods through it.
type dial struct {
	listener net.Listener

	mu     sync.Mutex
	client kubernetes.Interface
	// requests are each service's, all replicas together, and replicas how many serve.
	requests map[string]float64
	replicas map[string]int
}

func newDial() (*dial, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for model servers: %w", err)
	}
	return &dial{listener: l, requests: map[string]float64{}, replicas: map[string]int{}}, nil
}

func (d *dial) targetsURL() string { return "http://" + d.listener.Addr().String() + "/targets" }

// serve answers until ctx ends.
func (d *dial) serve(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /targets", d.targets)
	mux.HandleFunc("GET /services/{service}/metrics", d.metrics)
	server := http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(d.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve model servers: %w", err)
	}
	return nil
}

// follow makes the dial list the pods of a cluster as its targets.
func (d *dial) follow(client kubernetes.Interface) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.client = client
}

// set gives a service its requests.
func (d *dial) set(service string, requests float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests[service] = requests
}

// targets is Prometheus' HTTP service discovery.
func (d *dial) targets(w http.ResponseWriter, r *http.Request) {
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	d.mu.Lock()
	client := d.client
	d.mu.Unlock()
	groups := []group{}
	replicas := map[string]int{}
	if client != nil {
		pods, err := client.CoreV1().Pods("").List(r.Context(), metav1.ListOptions{LabelSelector: labelService})
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		for _, pod := range pods.Items {
			if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
				continue
			}
			service := pod.Labels[labelService]
			replicas[service]++
			groups = append(groups, group{
				Targets: []string{d.listener.Addr().String()},
				Labels: map[string]string{
					"namespace": pod.Namespace, "pod": pod.Name, "__metrics_path__": "/services/" + service + "/metrics",
				},
			})
		}
	}
	d.mu.Lock()
	d.replicas = replicas
	d.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(groups)
}

// metrics are those of one replica: the requests are spread evenly, and what does not
// find a slot waits.
func (d *dial) metrics(w http.ResponseWriter, r *http.Request) {
	service := r.PathValue("service")
	d.mu.Lock()
	each := d.requests[service] / float64(max(d.replicas[service], 1))
	d.mu.Unlock()
	running := min(each, slots)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	engine.WriteGauges(w, service, running, each-running, running/slots/2)
}
