package stage

import (
	"context"
	"encoding/json"
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

// Slots is how many requests a replica serves at once.
const Slots = 10

// dial answers for the service's replicas, with the load that is set. It speaks vLLM's
// metric names to a real Prometheus, which finds the pods through it.
type dial struct {
	listener net.Listener
	server   http.Server

	mu       sync.Mutex
	client   kubernetes.Interface
	requests float64 // of all replicas together
	replicas int
	// known are the last targets, which stay while the API server is away.
	known []target
}

type target struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

func newDial() (*dial, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for model servers: %w", err)
	}
	d := &dial{listener: l, known: []target{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /targets", d.targets)
	mux.HandleFunc("GET /metrics", d.metrics)
	d.server = http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = d.server.Serve(l) }() // it ends with close
	return d, nil
}

func (d *dial) close() { _ = d.server.Close() }

func (d *dial) url() string { return "http://" + d.listener.Addr().String() + "/targets" }

// follow makes the dial list the pods of a cluster as its targets.
func (d *dial) follow(client kubernetes.Interface) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.client = client
}

// set gives the service its requests.
func (d *dial) set(requests float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests = requests
}

// targets is Prometheus' HTTP service discovery.
func (d *dial) targets(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	client, groups := d.client, d.known
	d.mu.Unlock()
	if client != nil {
		if found, err := d.find(r.Context(), client); err == nil {
			groups = found
		}
	}
	d.mu.Lock()
	d.known, d.replicas = groups, len(groups)
	d.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(groups)
}

func (d *dial) find(ctx context.Context, client kubernetes.Interface) ([]target, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	pods, err := client.CoreV1().Pods(Online).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	groups := []target{}
	for _, pod := range pods.Items {
		if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil {
			groups = append(groups, target{
				Targets: []string{d.listener.Addr().String()},
				Labels:  map[string]string{"namespace": pod.Namespace, "pod": pod.Name},
			})
		}
	}
	return groups, nil
}

// metrics are those of one replica: the requests are spread evenly, and what does not find a
// slot waits.
func (d *dial) metrics(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	each := d.requests / float64(max(d.replicas, 1))
	d.mu.Unlock()
	running := min(each, Slots)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	engine.WriteGauges(w, "chat", running, each-running, running/Slots/2)
}
