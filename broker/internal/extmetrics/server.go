package extmetrics

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/cmd/options"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
)

// ServiceName is the DNS name that a self-signed certificate is for: that of the
// Service in deploy/kustomize/components/external-metrics.
const ServiceName = "ebbtide-external-metrics.ebbtide-system.svc"

// Config says where the API is served.
type Config struct {
	// BindAddress is host:port, for HTTPS only. Empty: the API is not served.
	BindAddress string `json:"bindAddress"`
	// CertFile and KeyFile as PEM; they are read again when they change. Both absent: the
	// certificate is self-signed, anew at each start.
	CertFile string `json:"certFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty"`
}

// Validate returns what is wrong with the configuration, by field below path. It reads
// no file.
func (c Config) Validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if (c.CertFile == "") != (c.KeyFile == "") {
		errs = append(errs, field.Invalid(path.Child("certFile"), c.CertFile, "must be set together with keyFile"))
	}
	if c.BindAddress == "" {
		return errs
	}
	wrong := func(rule string) field.ErrorList {
		return append(errs, field.Invalid(path.Child("bindAddress"), c.BindAddress, rule))
	}
	host, port, err := net.SplitHostPort(c.BindAddress)
	if err != nil {
		return wrong("must be host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return wrong("must have a port from 1 to 65535")
	}
	if host != "" && net.ParseIP(host) == nil {
		return wrong("must have an IP address as its host, or none")
	}
	return errs
}

// Server serves an external metrics API behind the API server's aggregation layer.
// Who asks, and what it may see, the API server is asked.
type Server struct {
	base *cmd.AdapterBase
}

// NewServer makes a server of the given metrics, a Board. kubeconfig is the file by which it
// asks the API server; empty, it is the pod's service account. It opens no port.
func NewServer(c Config, kubeconfig string, metrics provider.ExternalMetricsProvider) (*Server, error) {
	if err := c.Validate(field.NewPath("externalMetrics")).ToAggregate(); err != nil {
		return nil, err
	}
	o, err := c.options(kubeconfig)
	if err != nil {
		return nil, err
	}
	return newServer(o, kubeconfig, metrics), nil
}

func newServer(o *options.CustomMetricsAdapterServerOptions, kubeconfig string, metrics provider.ExternalMetricsProvider) *Server {
	base := &cmd.AdapterBase{
		CustomMetricsAdapterServerOptions: o, Name: "ebbtide-external-metrics", RemoteKubeConfigFile: kubeconfig,
		// The library fills its own flags in; nobody parses them.
		FlagSet: pflag.NewFlagSet("ebbtide-external-metrics", pflag.ContinueOnError),
	}
	base.WithExternalMetrics(metrics)
	return &Server{base: base}
}

func (c Config) options(kubeconfig string) (*options.CustomMetricsAdapterServerOptions, error) {
	o := options.NewCustomMetricsAdapterServerOptions()
	host, port, err := net.SplitHostPort(c.BindAddress)
	if err != nil {
		return nil, fmt.Errorf("bindAddress: %q must be host:port", c.BindAddress)
	}
	s := o.SecureServing
	s.BindAddress = net.IPv4zero
	if ip := net.ParseIP(host); ip != nil {
		s.BindAddress = ip
	}
	if s.BindPort, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("bindAddress: %q must have a number as its port", c.BindAddress)
	}
	s.ServerCert.CertDirectory, s.ServerCert.PairName = "", "" // nothing is written to the disk
	s.ServerCert.CertKey.CertFile, s.ServerCert.CertKey.KeyFile = c.CertFile, c.KeyFile
	if err := s.MaybeDefaultWithSelfSignedCerts(ServiceName, nil, []net.IP{net.IPv4(127, 0, 0, 1)}); err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	o.Authentication.RemoteKubeConfigFile, o.Authorization.RemoteKubeConfigFile = kubeconfig, kubeconfig
	o.Features.EnableProfiling = false
	// The broker has metrics of its own on a port of their own.
	o.EnableMetrics = false
	return o, nil
}

// Start serves until ctx ends. It is a controller-runtime Runnable.
func (s *Server) Start(ctx context.Context) error {
	if err := s.base.Run(ctx); err != nil {
		return fmt.Errorf("serve the external metrics API: %w", err)
	}
	return nil
}

// NeedLeaderElection makes only the leader serve: no other broker decides.
func (s *Server) NeedLeaderElection() bool { return true }
