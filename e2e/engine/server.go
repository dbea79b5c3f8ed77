package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Server answers for the replicas of all fleets at one loopback port: each
// replica's metrics at /pods/NAMESPACE/NAME/metrics, and at /targets the list
// that Prometheus' HTTP service discovery reads.
type Server struct {
	listener net.Listener
	http     http.Server

	mu     sync.Mutex
	fleets []*Fleet
}

// NewServer listens on a free loopback port; Serve answers.
func NewServer() (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for model servers: %w", err)
	}
	s := &Server{listener: l}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /targets", s.targets)
	mux.HandleFunc("GET /pods/{namespace}/{name}/metrics", s.metrics)
	s.http = http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return s, nil
}

// Add makes the server answer for a fleet. A replica is named namespace/pod.
func (s *Server) Add(f *Fleet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fleets = append(s.fleets, f)
}

// TargetsURL is the service discovery address.
func (s *Server) TargetsURL() string { return "http://" + s.listener.Addr().String() + "/targets" }

// Serve answers until ctx ends, then closes all connections.
func (s *Server) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.http.Close() })
	defer stop()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve model servers: %w", err)
	}
	return nil
}

// target is one entry of Prometheus' HTTP service discovery.
type target struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

func (s *Server) targets(w http.ResponseWriter, _ *http.Request) {
	list := []target{}
	s.mu.Lock()
	fleets := s.fleets
	s.mu.Unlock()
	for _, f := range fleets {
		for _, name := range f.replicaNames() {
			namespace, pod, _ := strings.Cut(name, "/")
			list = append(list, target{
				Targets: []string{s.listener.Addr().String()},
				Labels: map[string]string{
					"__metrics_path__": "/pods/" + name + "/metrics",
					"namespace":        namespace,
					"pod":              pod,
				},
			})
		}
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(list) //nolint:errcheck // the reader hung up
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("namespace") + "/" + r.PathValue("name")
	v, found := s.view(name)
	switch {
	case !found:
		http.Error(w, "no such replica: "+name, http.StatusNotFound)
		return
	case !v.ready:
		http.Error(w, "the model is being loaded", http.StatusServiceUnavailable)
		return
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(collector{view: v}); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true}).ServeHTTP(w, r)
}

func (s *Server) view(name string) (view, bool) {
	s.mu.Lock()
	fleets := s.fleets
	s.mu.Unlock()
	for _, f := range fleets {
		if v, found := f.view(name); found {
			return v, true
		}
	}
	return view{}, false
}
