package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/access"
)

// listenOptions say where metrics and health are served.
type listenOptions struct {
	address     string
	certificate access.Certificate
}

func (o *listenOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.address, "listen", "127.0.0.1:9470", "address of /metrics, /healthz and /readyz, for HTTPS only; empty: none")
	f.StringVar(&o.certificate.CertFile, "tls-cert-file", "", "certificate to show, which is read again when it changes; absent: one of its own, anew at each start")
	f.StringVar(&o.certificate.KeyFile, "tls-private-key-file", "", "key of the certificate")
}

func (o *listenOptions) check() error {
	if (o.certificate.CertFile == "") != (o.certificate.KeyFile == "") {
		return errors.New("--tls-cert-file: must be given together with --tls-private-key-file")
	}
	return nil
}

// serve serves metrics, to those of whom the API server says that they may get /metrics, and
// to anybody whether the agent lives, until ctx ends.
func (o *listenOptions) serve(ctx context.Context, config *rest.Config, metrics prometheus.Gatherer, published func() bool) error {
	log := klog.FromContext(ctx).WithName("http")
	guard, err := access.New(ctx, config, log)
	if err != nil {
		return err
	}
	server := &access.Server{
		Name: "metrics and health at --listen", Address: o.address, Guard: guard, Routes: routes(metrics, published),
		Certificate: o.certificate, Log: log,
	}
	return server.Start(ctx)
}

func routes(metrics prometheus.Gatherer, published func() bool) []access.Route {
	ok := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n")) // the kubelet has gone if this fails
	}
	ready := func(w http.ResponseWriter, r *http.Request) {
		if !published() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		ok(w, r)
	}
	return []access.Route{
		{Pattern: "GET /metrics", Rule: access.Path, Handler: promhttp.HandlerFor(metrics, promhttp.HandlerOpts{})},
		{Pattern: "GET /healthz", Rule: access.Probe, Handler: http.HandlerFunc(ok)},
		{Pattern: "GET /readyz", Rule: access.Probe, Handler: http.HandlerFunc(ready)},
	}
}
