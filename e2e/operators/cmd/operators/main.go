// Command operators runs the controllers of the kinds of training jobs that a lab
// may hold, one operator to a process, named by the first argument.
//
// The controllers and their webhooks are the projects' own, unchanged. What is
// written here is what their programs do around them: register types, indexes,
// reconcilers and webhooks. It differs from those programs in this: certificates
// come from the lab instead of a controller that writes Secrets, there is no leader
// election, and the clients have no rate limit, since a lab waits for them. All are
// built with one version of the Kubernetes libraries, that of the newest of them.
//
// One thing cannot be real where containers never run: what KubeRay asks of a Ray
// cluster's dashboard is answered here, see dashboards. Kinds that are no jobs of
// Ebbtide's (RayService, TFJob and others) are left out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

// stopTime is how long controllers may take to end what they are at.
const stopTime = 3 * time.Second

// operator is what one project's program sets up.
type operator struct {
	types []func(*runtime.Scheme) error
	// options changes those of the manager; nil leaves them as they are.
	options func(*ctrl.Options) error
	// setup registers everything with the manager. The webhooks only if there is
	// somewhere to serve them.
	setup func(ctx context.Context, mgr ctrl.Manager, webhooks bool) error
}

var operators = map[string]operator{
	"jobset":            jobSet,
	"kuberay":           kubeRay,
	"lws":               leaderWorkerSet,
	"trainer":           trainer,
	"training-operator": trainingOperator,
}

// settings are the flags.
type settings struct {
	kubeconfig, health, metrics string
	webhooks, cert, key         string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "operators:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	names := strings.Join(slices.Sorted(maps.Keys(operators)), "|")
	if len(args) == 0 {
		return fmt.Errorf("usage: operators %s [flags]", names)
	}
	op, ok := operators[args[0]]
	if !ok {
		return fmt.Errorf("unknown operator %q, want one of %s", args[0], names)
	}
	var s settings
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&s.kubeconfig, "kubeconfig", "", "credentials")
	flags.StringVar(&s.health, "health-addr", "", "address of /healthz and /readyz")
	flags.StringVar(&s.metrics, "metrics-addr", "0", "address of /metrics; 0 for none")
	flags.StringVar(&s.webhooks, "webhooks-addr", "", "address of the webhooks, served over TLS; empty for none")
	flags.StringVar(&s.cert, "tls-cert-file", "", "certificate of the webhooks")
	flags.StringVar(&s.key, "tls-private-key-file", "", "its key, in the same folder")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	ctrl.SetLogger(zap.New(zap.UseDevMode(true)))
	mgr, err := newManager(op, s)
	if err != nil {
		return fmt.Errorf("make the manager: %w", err)
	}
	if err := op.setup(ctx, mgr, s.webhooks != ""); err != nil {
		return fmt.Errorf("set up %s: %w", args[0], err)
	}
	if err := addChecks(mgr, s.webhooks != ""); err != nil {
		return fmt.Errorf("set up the health checks: %w", err)
	}
	return mgr.Start(ctx)
}

func newManager(op operator, s settings) (ctrl.Manager, error) {
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	scheme := runtime.NewScheme()
	for _, add := range append([]func(*runtime.Scheme) error{clientgoscheme.AddToScheme}, op.types...) {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	grace := stopTime
	options := ctrl.Options{
		Scheme:                  scheme,
		HealthProbeBindAddress:  s.health,
		Metrics:                 metricsserver.Options{BindAddress: s.metrics},
		GracefulShutdownTimeout: &grace,
	}
	if s.webhooks != "" {
		if options.WebhookServer, err = webhookServer(s); err != nil {
			return nil, err
		}
	}
	if op.options != nil {
		if err := op.options(&options); err != nil {
			return nil, err
		}
	}
	return ctrl.NewManager(config, options)
}

func webhookServer(s settings) (webhook.Server, error) {
	host, port, err := net.SplitHostPort(s.webhooks)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	return webhook.NewServer(webhook.Options{
		Host: host, Port: number,
		CertDir: filepath.Dir(s.cert), CertName: filepath.Base(s.cert), KeyName: filepath.Base(s.key),
	}), nil
}

// addChecks makes the program ready once its caches are filled and its webhooks
// answer.
func addChecks(mgr ctrl.Manager, webhooks bool) error {
	if err := mgr.AddHealthzCheck("healthz", func(*http.Request) error { return nil }); err != nil {
		return err
	}
	synced := make(chan struct{})
	err := mgr.Add(manageFunc(func(ctx context.Context) error {
		if mgr.GetCache().WaitForCacheSync(ctx) {
			close(synced)
		}
		return nil
	}))
	if err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("caches", func(*http.Request) error {
		select {
		case <-synced:
			return nil
		default:
			return errors.New("the caches are not filled yet")
		}
	}); err != nil || !webhooks {
		return err
	}
	return mgr.AddReadyzCheck("webhooks", mgr.GetWebhookServer().StartedChecker())
}

// manageFunc is run by the manager, in every replica.
type manageFunc func(context.Context) error

func (f manageFunc) Start(ctx context.Context) error { return f(ctx) }
