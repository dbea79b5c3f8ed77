package controller

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/ebbtide/ebbtide/broker/access"
	"github.com/ebbtide/ebbtide/broker/internal/web"
)

// ServiceName is the DNS name that a self-signed certificate is for: that of the broker's
// Service.
const ServiceName = "ebbtide-broker.ebbtide-system.svc"

// serving listens while main runs, from before the caches have anything: a kubelet must not
// end a broker that waits for them. What cannot be served ends main; once main has failed,
// nobody is waited for.
func (b *broker) serving(ctx context.Context, restConfig *rest.Config, main func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	servers, err := b.servers(ctx, restConfig)
	if err != nil {
		return err
	}
	ended := make(chan error, len(servers))
	for _, s := range servers {
		go func() {
			err := s.Start(ctx)
			if err != nil {
				cancel()
			}
			ended <- err
		}()
	}
	if err := main(ctx); err != nil {
		return errors.Join(err, failed(ended))
	}
	cancel()
	for range servers {
		err = errors.Join(err, <-ended)
	}
	return err
}

// failed is what the servers that have ended already ended with.
func failed(ended <-chan error) (err error) {
	for {
		select {
		case e := <-ended:
			err = errors.Join(err, e)
		default:
			return err
		}
	}
}

// servers are the API's, the metrics' and the kubelet's.
func (b *broker) servers(ctx context.Context, restConfig *rest.Config) ([]*access.Server, error) {
	log := b.mgr.GetLogger().WithName("http")
	guard, err := access.New(ctx, restConfig, log)
	if err != nil {
		return nil, err
	}
	numbers := promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{})
	server := func(name, address string, routes []access.Route) *access.Server {
		return &access.Server{
			Name: name, Address: address, Guard: guard, Routes: routes,
			Certificate: b.config.HTTP.Certificate, ServerName: ServiceName, Log: log,
		}
	}
	probes := server("probes at healthProbe.bindAddress", b.config.HealthProbe.BindAddress, web.Probes(b.board))
	probes.Plain = true
	api := server("the API at http.bindAddress", b.config.HTTP.BindAddress, web.Routes(b.board, numbers))
	api.Connections = web.Connections
	servers := []*access.Server{
		api,
		server("metrics at metrics.bindAddress", b.config.Metrics.BindAddress, metricsRoutes(numbers)),
		probes,
	}
	if b.replication != nil {
		servers = append(servers, b.replication.listener(guard, log))
	}
	return slices.DeleteFunc(servers, func(s *access.Server) bool { return s.Address == off }), nil
}

func metricsRoutes(numbers http.Handler) []access.Route {
	return []access.Route{{Pattern: "GET /metrics", Rule: access.Path, Handler: numbers}}
}
