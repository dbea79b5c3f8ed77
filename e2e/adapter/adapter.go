package adapter

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime/schema"
	basecmd "sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// Name of the part, and of its Service.
const Name = "custom-metrics"

// Version of the API that the adapter serves.
var Version = schema.GroupVersion{Group: "custom.metrics.k8s.io", Version: "v1beta2"}

const (
	// configEnv makes a program that calls Main an adapter.
	configEnv = "EBBTIDE_LAB_ADAPTER"
	user      = "lab-custom-metrics"
	// discoveryInterval is how often the adapter learns of new kinds.
	discoveryInterval = time.Minute
)

//go:embed rbac.yaml
var rbac []byte

// config is what the process is told.
type config struct {
	Kubeconfig, PrometheusURL, Addr, CertFile, KeyFile string
	Rules                                              []Rule
}

// Start runs an adapter as a part of the lab, which must have a Prometheus, and
// returns once the API server reaches it.
func Start(ctx context.Context, l *lab.Lab, rules ...Rule) (*lab.Part, error) {
	var errs []error
	for _, r := range rules {
		errs = append(errs, r.Validate())
	}
	if l.PrometheusURL() == "" {
		errs = append(errs, errors.New("start an adapter: this lab has no Prometheus"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c := config{PrometheusURL: l.PrometheusURL(), Rules: rules}
	if err := l.CreateNamespace(ctx, "kube-system", nil); err != nil {
		return nil, err
	}
	if err := l.Apply(ctx, rbac); err != nil {
		return nil, err
	}
	serving, err := l.Serving(Name)
	if err != nil {
		return nil, err
	}
	c.Addr, c.CertFile, c.KeyFile = serving.Addr, serving.CertFile, serving.KeyFile
	if c.Kubeconfig, err = l.UserKubeconfig(user); err != nil {
		return nil, err
	}
	part, err := c.start(ctx, l)
	if err != nil {
		return nil, err
	}
	if err := l.ServeAPI(ctx, serving, Version); err != nil {
		return nil, err
	}
	return part, l.WaitAPI(ctx, Version, true)
}

func (c config) start(ctx context.Context, l *lab.Lab) (*lab.Part, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the program to run as an adapter: %w", err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode the adapter's configuration: %w", err)
	}
	return l.StartCommand(ctx, lab.Command{
		Name: Name, Path: self, Environ: []string{configEnv + "=" + string(text)},
		Health: "https://" + c.Addr + "/readyz",
	})
}

// Main runs an adapter and does not return if this process was started as one by
// Start; otherwise it does nothing.
func Main() {
	text := os.Getenv(configEnv)
	if text == "" {
		return
	}
	if err := run(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(text string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return fmt.Errorf("read the adapter's configuration: %w", err)
	}
	base := &basecmd.AdapterBase{Name: Name, FlagSet: pflag.NewFlagSet(Name, pflag.ContinueOnError)}
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return fmt.Errorf("read the adapter's address: %w", err)
	}
	if err := base.Flags().Parse([]string{
		"--bind-address=" + host, "--secure-port=" + port,
		"--tls-cert-file=" + c.CertFile, "--tls-private-key-file=" + c.KeyFile,
		"--lister-kubeconfig=" + c.Kubeconfig, "--authentication-kubeconfig=" + c.Kubeconfig,
		"--authorization-kubeconfig=" + c.Kubeconfig, "--discovery-interval=" + discoveryInterval.String(),
		"--client-qps=1000", "--client-burst=2000",
	}); err != nil {
		return fmt.Errorf("configure the adapter: %w", err)
	}
	m, err := newMetrics(base, c)
	if err != nil {
		return err
	}
	base.WithCustomMetrics(m)
	if err := base.Run(ctx); err != nil {
		return fmt.Errorf("run the adapter: %w", err)
	}
	return nil
}

func newMetrics(base *basecmd.AdapterBase, c config) (*metrics, error) {
	m := &metrics{rules: c.Rules, now: time.Now}
	var err error
	if m.mapper, err = base.RESTMapper(); err != nil {
		return nil, fmt.Errorf("learn the kinds of the cluster: %w", err)
	}
	if m.client, err = base.DynamicClient(); err != nil {
		return nil, fmt.Errorf("make the adapter's client: %w", err)
	}
	client, err := api.NewClient(api.Config{Address: c.PrometheusURL})
	if err != nil {
		return nil, fmt.Errorf("make a client of prometheus: %w", err)
	}
	m.source = promv1.NewAPI(client)
	return m, nil
}
