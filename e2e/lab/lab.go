package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/e2e/lab/build"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/e2e/lab/pki"
	"github.com/ebbtide/ebbtide/e2e/lab/process"
)

// Options says what a lab consists of. The zero value is a control plane with
// kwok and Prometheus, without nodes and without Ebbtide.
type Options struct {
	// Dir is a folder for keys, data and logs that is kept; by default a
	// temporary one that is removed. It must be empty or new.
	Dir string
	// BinDir holds the programs, which are then taken as they are. By default
	// they are built into the repository's bin/ if they are missing or stale.
	BinDir string
	// Logf is told of progress and of anything unexpected; by default nobody is.
	Logf func(format string, args ...any)

	// SDURL is where Prometheus asks for its targets (HTTP service discovery).
	SDURL string
	// ScrapeInterval is one second by default.
	ScrapeInterval time.Duration
	// NoPrometheus leaves Prometheus out.
	NoPrometheus bool

	// Fsync makes etcd write to disk before it answers, for tests of crashes.
	Fsync bool
	// KubeScheduler starts the stock scheduler too, for schedulerName
	// "default-scheduler".
	KubeScheduler bool
	// Manifests are applied once the API server is up, before Ebbtide's programs
	// and the nodes are there. See Lab.Apply.
	Manifests [][]byte
	// Scheduler and Broker start Ebbtide's programs.
	Scheduler *Program
	Broker    *Program
	// Nodes are created last. See Lab.AddNodes.
	Nodes []NodeSpec
}

// Lab is a running control plane.
type Lab struct {
	opts   Options
	logf   func(format string, args ...any)
	binDir string
	folder *folder
	ports  ports
	addrs  addresses
	files  keyFiles

	authority     *pki.Authority
	etcdAuthority *pki.Authority
	http          *http.Client
	etcdHTTP      *http.Client
	apiAddr       string
	promAddr      string
	admin         *rest.Config
	client        kubernetes.Interface
	dynamic       dynamic.Interface

	starter     *process.Starter
	stopKubelet context.CancelFunc
	kubelet     chan error

	mu     sync.Mutex
	parts  map[string]*Part
	err    error
	failed chan struct{}
	keep   bool

	stopOnce sync.Once
	stopErr  error
}

// Start starts a lab and returns when all its parts are ready. If that fails, or
// ctx ends before, everything is stopped again, the folder is kept, and the error
// shows the end of the log in question.
func Start(ctx context.Context, opts Options) (*Lab, error) {
	l := &Lab{opts: opts, logf: opts.Logf, parts: map[string]*Part{}, failed: make(chan struct{})}
	if l.logf == nil {
		l.logf = func(string, ...any) {}
	}
	var err error
	if l.binDir, err = Programs(ctx, opts); err != nil {
		return nil, err
	}
	began := time.Now()
	if l.folder, err = newFolder(opts.Dir); err != nil {
		return nil, err
	}
	l.starter = process.NewStarter()
	if err = l.prepare(); err == nil {
		err = l.bringUp(ctx)
	}
	if err != nil {
		l.Keep()
		return nil, errors.Join(fmt.Errorf("start a lab: %w", err), l.Stop())
	}
	l.logf("lab: up in %s, in %s", time.Since(began).Round(10*time.Millisecond), l.folder.path)
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
	if err := makeFolder(l.folder.join("logs")); err != nil {
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
//	                             └ manifests ┬ scheduler ──────┤
//	                                         └ broker ─────────┘
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
	if err := l.Apply(ctx, l.opts.Manifests...); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if l.opts.Scheduler != nil {
		group.Go(func() error { _, err := l.StartScheduler(ctx, *l.opts.Scheduler); return err })
	}
	if l.opts.Broker != nil {
		group.Go(func() error { _, err := l.StartBroker(ctx, *l.opts.Broker); return err })
	}
	return group.Wait()
}

// createAccounts makes the service accounts of Ebbtide's programs. Manifests may
// name them again.
func (l *Lab) createAccounts(ctx context.Context) error {
	_, err := l.client.CoreV1().Namespaces().Create(ctx,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: SystemNamespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", SystemNamespace, err)
	}
	for _, kind := range []programKind{brokers, schedulers} {
		_, err := l.client.CoreV1().ServiceAccounts(SystemNamespace).Create(ctx,
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
	if err := part.Start(); err != nil {
		return err
	}
	return part.WaitReady(ctx)
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
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	l.mu.Lock()
	l.stopKubelet, l.kubelet = cancel, done
	l.mu.Unlock()
	go func() { done <- kubelet.New(client, l.logger()).Run(ctx) }()
	return nil
}

// logger passes the kubelet's messages on to Logf.
func (l *Lab) logger() logr.Logger {
	return funcr.New(func(prefix, args string) { l.logf("kubelet: %s %s", prefix, args) }, funcr.Options{Verbosity: 1})
}

// Client returns a client for a user in system:masters, without a client-side
// rate limit.
func (l *Lab) Client() kubernetes.Interface { return l.client }

// Dynamic is like Client, for objects of any kind.
func (l *Lab) Dynamic() dynamic.Interface { return l.dynamic }

// Dir returns the lab's folder. Its logs/ holds each part's log.
func (l *Lab) Dir() string { return l.folder.path }

// Part returns the part of that name, such as KubeAPIServer, or nil if the lab has
// none.
func (l *Lab) Part(name string) *Part {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.parts[name]
}

// Failed is closed as soon as a part has ended unasked. Err then says which.
func (l *Lab) Failed() <-chan struct{} { return l.failed }

// Err returns the first unasked end of a part, with the last lines of its log, or
// nil.
func (l *Lab) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Keep makes Stop leave the lab's folder behind, for instance because a test has
// failed.
func (l *Lab) Keep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep = true
}

func (l *Lab) partExited(p *Part, cause error) {
	if cause == nil {
		cause = errors.New("exit status 0")
	}
	err := fmt.Errorf("%s ended unasked: %w\n%s", p.name, cause, p.Tail())
	l.logf("lab: %v", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
		close(l.failed)
	}
}
