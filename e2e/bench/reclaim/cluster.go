package reclaim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/bench"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

const (
	// clientRate is the limit of each program's requests per second.
	clientRate = 1000
	// Speed is how many times shorter unsaved work is told to Ebbtide than it is.
	Speed = 360
)

// cluster is a running lab with one of the systems on it.
type cluster struct {
	*lab.Lab
	system system
	trial  trial
	api    client.Client
	// pods speaks protobuf, so that the bench takes as little of the machine as it can.
	pods kubernetes.Interface
	seen *observer
}

// start starts a lab with the system on it, the tenants and the online services. A
// cluster that is returned must be stopped, with an error or without.
func (c Config) start(ctx context.Context, t trial, s system) (*cluster, error) {
	opts, err := c.options(t, s)
	if err != nil {
		return nil, err
	}
	l, err := lab.Start(ctx, opts)
	if err != nil {
		return nil, err
	}
	if c.Keep {
		l.Keep()
	}
	w := &cluster{Lab: l, system: s, trial: t}
	config := l.Config()
	config.ContentType = runtime.ContentTypeProtobuf
	if w.pods, err = kubernetes.NewForConfig(config); err != nil {
		return w, fmt.Errorf("make a client: %w", err)
	}
	if w.api, err = lab.TypedClient(l.Config()); err != nil {
		return w, err
	}
	if w.seen, err = observe(ctx, w.pods); err != nil {
		return w, err
	}
	return w, w.settle(ctx)
}

// options of the lab. The stock system has Ebbtide's PriorityClasses and nothing else of
// it that would run.
func (c Config) options(t trial, s system) (lab.Options, error) {
	opts := lab.Options{
		BinDir: c.Programs,
		Logf:   func(format string, args ...any) { fmt.Fprintf(c.Log, format+"\n", args...) },
	}
	for i := range t.nodes {
		opts.Nodes = append(opts.Nodes, lab.NodeSpec{Name: fmt.Sprintf("gpu-%03d", i), GPUs: gpusPerNode})
	}
	render := func() ([]byte, error) { return deploy.Manifests() }
	if s == stock {
		render = bench.WithoutPolicies
		opts.KubeScheduler, opts.NoPrometheus = true, true
	} else {
		opts.Scheduler = &lab.Program{Config: bench.Unlimited(deploy.SchedulerConfig())}
		opts.Broker = &lab.Program{Config: c.brokerConfig}
		if c.Keep {
			opts.Broker.Args = func(lab.Env) []string { return []string{"--verbosity=2"} }
		}
	}
	manifests, err := render()
	if err != nil {
		return opts, fmt.Errorf("render ebbtide's manifests: %w", err)
	}
	opts.Manifests = [][]byte{manifests}
	return opts, nil
}

// brokerConfig is the default configuration, but for the windows of a load that is
// constant, and for the restart cost and the least time of a loan, which are in the time
// that jobs tell.
func (c Config) brokerConfig(e lab.Env) ([]byte, error) {
	web, err := e.Listen("web")
	if err != nil {
		return nil, err
	}
	record := ""
	if c.Keep {
		record = e.Dir + "/reclaims.jsonl"
	}
	return fmt.Appendf(nil, `apiVersion: ebbtide.dev/v1alpha1
kind: BrokerConfiguration
prometheus: {url: %q}
signals: {youngReplica: 0s, stableWindow: 1s, panicWindow: 1s, forecast: false}
ledger: {path: %q}
http: {bindAddress: %q}
metrics: {bindAddress: "0"}
healthProbe: {bindAddress: %q}
leaderElection: {enabled: false}
client: {qps: %d, burst: %d}
policy: {restartCost: %s, minimumLoan: %s}
record: {path: %q}
`, e.PrometheusURL, e.Dir+"/ledger.db", web, e.Addr, clientRate, 2*clientRate,
		lend.DefaultPolicy().RestartCost/Speed, lend.DefaultPolicy().MinimumLoan/Speed, record), nil
}

// settle makes what both systems need, and what Ebbtide needs besides.
func (w *cluster) settle(ctx context.Context) error {
	for _, team := range []string{onlineNamespace, trainingNamespace} {
		if err := w.CreateNamespace(ctx, team, map[string]string{"team": team}); err != nil {
			return err
		}
	}
	var objects []client.Object
	all := int64(w.trial.nodes) * gpusPerNode
	if w.system == ebbtide {
		objects = append(objects, tenant(onlineNamespace, all), tenant(trainingNamespace, 0), trainingQueue())
	}
	asked := w.trial.asked()
	sizes := slices.Sorted(maps.Keys(asked))
	for i, size := range sizes {
		objects = append(objects, w.service(size))
		owned := asked[size]
		if i == 0 { // the first owns what the others leave
			owned = all
			for _, other := range sizes[1:] {
				owned -= asked[other]
			}
		}
		if w.system == ebbtide {
			objects = append(objects, lends(size, owned))
		}
	}
	for _, o := range objects {
		if err := w.api.Create(ctx, o); err != nil {
			return fmt.Errorf("create %T %s: %w", o, o.GetName(), err)
		}
	}
	return nil
}

// patience is how long anything may take.
const patience = 4 * time.Minute
