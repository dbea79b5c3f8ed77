package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr/funcr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/e2e/lab/build"
	"github.com/ebbtide/ebbtide/e2e/lab/devices"
	"github.com/ebbtide/ebbtide/e2e/lab/host"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/e2e/lab/process"
)

// Start starts a lab and returns when all its parts are ready. If that fails, or
// ctx ends before, everything is stopped again, the folder is kept, and the error
// shows the end of the log in question.
func Start(ctx context.Context, opts Options) (*Lab, error) {
	l := &Lab{opts: opts, logf: opts.Logf, parts: map[string]*Part{}, devices: devices.NewManager(), failed: make(chan struct{})}
	if l.logf == nil {
		l.logf = func(string, ...any) {}
	}
	var err error
	if l.binDir, err = Programs(ctx, opts); err != nil {
		return nil, err
	}
	began := time.Now()
	if l.folder, err = host.NewFolder(opts.Dir); err != nil {
		return nil, err
	}
	l.starter = process.NewStarter()
	if err = l.prepare(); err == nil {
		err = l.preparePods()
	}
	if err == nil {
		err = l.bringUp(ctx)
	}
	if err != nil {
		l.Keep()
		return nil, errors.Join(fmt.Errorf("start a lab: %w", err), l.Stop())
	}
	l.logf("lab: up in %s, in %s", time.Since(began).Round(10*time.Millisecond), l.folder.Path)
	return l, nil
}

// Programs returns the folder of the programs that the options call for: BinDir
// if it is given and holds them all, otherwise the repository's bin/ after
// building there what is missing or stale. Start does the same; on its own it
// serves to keep the time of a build apart from that of a start.
func Programs(ctx context.Context, opts Options) (string, error) {
	names := []string{build.ControlPlane, build.Kwok}
	if !opts.NoPrometheus {
		names = append(names, build.Prometheus)
	}
	if opts.Broker != nil {
		names = append(names, build.Broker)
	}
	if opts.Scheduler != nil {
		names = append(names, build.Scheduler)
	}
	if opts.Agent != nil {
		names = append(names, build.Agent)
	}
	if len(opts.Operators) > 0 {
		names = append(names, build.Operators)
	}
	if opts.BinDir != "" {
		return opts.BinDir, build.Check(opts.BinDir, names...)
	}
	if opts.Logf == nil {
		opts.Logf = func(string, ...any) {}
	}
	return build.Programs(ctx, opts.Logf, names...)
}

// binary returns the path of a program that may not have been asked for at start.
func (l *Lab) binary(ctx context.Context, name string) (string, error) {
	if l.opts.BinDir == "" {
		if _, err := build.Programs(ctx, l.logf, name); err != nil {
			return "", err
		}
	}
	return l.bin(name), build.Check(l.binDir, name)
}

func (l *Lab) bin(name string) string { return filepath.Join(l.binDir, name) }

// prepare makes everything that needs no process: addresses, keys, clients.
func (l *Lab) prepare() error {
	if err := makeFolder(l.folder.Join("logs")); err != nil {
		return err
	}
	var err error
	if l.apiAddr, err = l.address(KubeAPIServer); err != nil {
		return err
	}
	if !l.opts.NoPrometheus {
		if l.promAddr, err = l.address(Prometheus); err != nil {
			return err
		}
	}
	admin, etcd, err := l.writeKeys()
	if err != nil {
		return err
	}
	if l.http, err = httpClient(l.authority, admin); err != nil {
		return err
	}
	if l.etcdHTTP, err = httpClient(l.etcdAuthority, etcd); err != nil {
		return err
	}
	l.admin = l.restConfig(admin)
	if l.client, err = kubernetes.NewForConfig(l.admin); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if l.dynamic, err = dynamic.NewForConfig(l.admin); err != nil {
		return fmt.Errorf("make a dynamic client: %w", err)
	}
	return nil
}

// bringUp starts what depends on nothing at once and everything else as soon as
// what it depends on is ready:
//
//	prometheus
//	etcd ─ kube-apiserver ┬ kube-controller-manager ───────────┐
//	                      ├ kube-scheduler                     ├ nodes
//	                      └ rbac ┬ kwok, kubelet ──────────────┤
//	                             └ operators ─ manifests ┬ scheduler ──┤
//	                                                     └ broker ─────┘
func (l *Lab) bringUp(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if !l.opts.NoPrometheus {
		group.Go(func() error { return l.startPart(ctx, l.prometheus) })
	}
	group.Go(func() error {
		if err := l.startPart(ctx, l.etcd); err != nil {
			return err
		}
		if err := l.startPart(ctx, l.apiServer); err != nil {
			return err
		}
		return l.bringUpCluster(ctx)
	})
	return group.Wait()
}

func (l *Lab) bringUpCluster(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.startPart(groupCtx, l.controllerManager) })
	if l.opts.KubeScheduler {
		group.Go(func() error { return l.startPart(groupCtx, l.stockScheduler) })
	}
	rbac, err := stages.ReadFile("stages/rbac.yaml")
	if err != nil {
		return fmt.Errorf("read the lab's own rights: %w", err)
	}
	group.Go(func() error {
		if err := l.Apply(groupCtx, rbac); err != nil {
			return err
		}
		if err := l.startKubelet(); err != nil {
			return err
		}
		return l.startPart(groupCtx, l.kwok)
	})
	group.Go(func() error { return l.bringUpEbbtide(groupCtx) })
	if err := group.Wait(); err != nil {
		return err
	}
	return l.AddNodes(ctx, l.opts.Nodes)
}

func (l *Lab) bringUpEbbtide(ctx context.Context) error {
	if err := l.createAccounts(ctx); err != nil {
		return err
	}
	if err := l.StartOperators(ctx, l.opts.Operators...); err != nil {
		return err
	}
	if err := l.Apply(ctx, l.opts.Manifests...); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if l.opts.Scheduler != nil {
		group.Go(func() error {
			_, err := l.StartScheduler(ctx, *l.opts.Scheduler)
			return err
		})
	}
	if l.opts.Broker != nil {
		group.Go(func() error {
			_, err := l.StartBroker(ctx, *l.opts.Broker)
			return err
		})
	}
	return group.Wait()
}

// createAccounts makes the service accounts of Ebbtide's programs. Manifests may
// name them again.
func (l *Lab) createAccounts(ctx context.Context) error {
	for _, name := range []string{SystemNamespace, AgentNamespace} {
		_, err := l.client.CoreV1().Namespaces().Create(ctx,
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create namespace %s: %w", name, err)
		}
	}
	for _, kind := range []programKind{brokers, schedulers, agents} {
		_, err := l.client.CoreV1().ServiceAccounts(kind.namespace).Create(ctx,
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: kind.account}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create service account %s: %w", kind.account, err)
		}
	}
	return nil
}

func (l *Lab) startPart(ctx context.Context, configure func() (*Part, error)) error {
	part, err := configure()
	if err != nil {
		return err
	}
	return part.begin(ctx)
}

// startKubelet runs the kubelet in this process until the lab stops.
func (l *Lab) startKubelet() error {
	config, err := l.UserConfig("lab-kubelet")
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make the kubelet's client: %w", err)
	}
	log, err := os.OpenFile(l.folder.Join("logs", "kubelet.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of the kubelet: %w", err)
	}
	logger := funcr.New(func(prefix, args string) { fmt.Fprintln(log, prefix, args) },
		funcr.Options{LogTimestamp: true, Verbosity: 1})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	nodes := kubelet.New(client, logger)
	l.mu.Lock()
	l.stopKubelet, l.kubelet, l.nodes = cancel, done, nodes
	l.mu.Unlock()
	nodes.RunPrograms(l.programs)
	nodes.UseDevices(l.devices)
	if l.opts.handsGPUs() {
		nodes.HandGPUs()
	}
	go func() {
		nodes.Run(ctx)
		l.programs.Close()
		done <- log.Close()
	}()
	return nil
}

// Stop stops every part in order, each before what it depends on, and removes the
// lab's folder unless something went wrong. It returns how a part ended unasked, if
// one did. Later calls return the same.
func (l *Lab) Stop() error {
	l.stopOnce.Do(func() { l.stopErr = l.stop() })
	return l.stopErr
}

func (l *Lab) stop() error {
	var errs []error
	for _, parts := range l.stopOrder() {
		var group errgroup.Group
		for _, part := range parts {
			group.Go(part.Stop)
		}
		if parts[0].stopRank() >= rankControllers {
			errs = append(errs, l.endKubelet()) // it needs the API server
		}
		errs = append(errs, group.Wait())
	}
	l.starter.Close()

	cause := l.Err()
	l.mu.Lock()
	keep := l.keep || cause != nil
	l.mu.Unlock()
	if keep {
		l.logf("lab: its folder is kept: %s", l.folder.Path)
	}
	errs = append(errs, l.folder.Close(keep), l.ports.Close())
	if err := errors.Join(errs...); err != nil {
		cause = errors.Join(cause, fmt.Errorf("stop the lab: %w", err))
	}
	return cause
}

// Parts stop in this order, those of one rank together. The API server goes
// before etcd, and is waited for: with etcd gone first it hangs on to its port.
const (
	rankBrokers = iota
	rankPrograms
	rankControllers
	rankAPIServer
	rankEtcd
)

func (p *Part) stopRank() int {
	switch {
	case p.name == Etcd:
		return rankEtcd
	case p.name == KubeAPIServer:
		return rankAPIServer
	case p.name == KubeControllerManager, p.name == Kwok, p.name == Prometheus, p.name == KubeScheduler:
		return rankControllers
	case strings.HasSuffix(p.path, "broker"):
		return rankBrokers
	}
	return rankPrograms
}

// stopOrder returns the parts in groups that may stop at once.
func (l *Lab) stopOrder() [][]*Part {
	l.mu.Lock()
	defer l.mu.Unlock()
	byRank := make([][]*Part, rankEtcd+1)
	for _, part := range l.parts {
		byRank[part.stopRank()] = append(byRank[part.stopRank()], part)
	}
	return slices.DeleteFunc(byRank, func(parts []*Part) bool { return len(parts) == 0 })
}

// endKubelet stops the kubelet if it runs and returns how it ended.
func (l *Lab) endKubelet() error {
	l.mu.Lock()
	cancel, done := l.stopKubelet, l.kubelet
	l.stopKubelet, l.kubelet = nil, nil
	l.mu.Unlock()
	if cancel == nil {
		return nil
	}
	cancel()
	l.endDevices()
	return <-done
}
