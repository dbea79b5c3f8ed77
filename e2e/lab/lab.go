// Package lab starts and stops a real Kubernetes control plane on loopback, for
// tests and for a laptop: etcd, kube-apiserver, kube-controller-manager, kwok and
// Prometheus, and with them ebbtide-scheduler and ebbtide-broker. It needs no
// root, no container engine and no network.
//
// It promises:
//   - Everything runs over TLS with an authority of its own and RBAC switched on;
//     each Ebbtide binary runs as its own service account, with the rights that
//     the caller's manifests give it and no others.
//   - Every part is a process of its own that can be killed, frozen, thawed,
//     stopped and restarted. A part that ends unasked is an error of the lab.
//   - Nothing is left running when the process that started the lab ends, not even
//     when it ends by SIGKILL.
//   - Ports are free ones of loopback and stay a part's own across restarts. The
//     lab's folder is removed when it stops, unless something went wrong: then it
//     is kept, with each part's log, and its path is printed.
//
// Simulated are only the machines: kwok keeps the nodes alive and starts the pods,
// and package kubelet gives them load times, grace periods and exit codes (see the
// annotations there). Containers are never run, but for the images that
// Options.Programs names: a pod of such an image is a process, see package container.
//
// A node may have simulated cards that are cut into slices (NodeSpec.Cards). Then the device
// plugin and the kubelet's device manager are played by package devices, and Ebbtide's own
// agent runs on it as a part (AgentOf), which can be killed alone, at a step of its choice
// (Lab.FailAgent). Or the agent is the DRA driver of a node's cards (StartDriver), and
// package claims plays the kubelet's part towards it.
//
// It refuses to run anything against a cluster it did not start.
package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/e2e/lab/container"
	"github.com/ebbtide/ebbtide/e2e/lab/devices"
	"github.com/ebbtide/ebbtide/e2e/lab/host"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/e2e/lab/manifest"
	"github.com/ebbtide/ebbtide/e2e/lab/pki"
	"github.com/ebbtide/ebbtide/e2e/lab/process"
)

// Options says what a lab consists of. The zero value is a control plane with
// kwok and Prometheus, without nodes and without Ebbtide.
type Options struct {
	// Dir is an empty or new folder for keys, data and logs that is kept; by
	// default a temporary one that is removed. A lab does not take up the data
	// of an earlier one, which belongs to other keys.
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

	// APIServerArgs are flags of kube-apiserver beside those that the lab sets.
	APIServerArgs []string
	// AuditReads are users of which the audit log keeps what they read, too. See Lab.AuditLog.
	AuditReads []string
	// Autoscaler switches the HorizontalPodAutoscaler controller on. Without it,
	// such objects are there to be read, and nothing acts on them.
	Autoscaler *Autoscaler
	// KubeScheduler starts the stock scheduler too, for schedulerName
	// "default-scheduler".
	KubeScheduler bool
	// Operators are the projects, by their names in package crds, whose kinds of
	// jobs the API server serves and whose own controllers act on them. They run
	// before Manifests are applied. See Lab.StartOperators.
	Operators []string
	// Manifests are applied once the API server is up, before Ebbtide's programs
	// and the nodes are there. See Lab.Apply.
	Manifests [][]byte
	// Scheduler and Broker start Ebbtide's programs.
	Scheduler *Program
	Broker    *Program
	// Agent is how the agents of nodes with cards are run, whose own GPUs they see; nil:
	// these nodes have none. See Lab.StartAgent.
	Agent *Program
	// Programs are paths of programs by images: a pod whose container has such an image
	// is a process of that program on this machine, from its start to its end, on a
	// simulated node. Its output is in the lab's folder, logs/pods.
	Programs map[string]string
	// Nodes are created last. See Lab.AddNodes.
	Nodes []NodeSpec
}

// Lab is a running control plane.
type Lab struct {
	opts   Options
	logf   func(format string, args ...any)
	binDir string
	folder *host.Folder
	ports  host.Ports
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
	programs    *container.Runtime // nil without Options.Programs
	stopKubelet context.CancelFunc
	kubelet     chan error
	nodes       *kubelet.Kubelet // all of them, once they run
	devices     *devices.Manager

	mu     sync.Mutex
	parts  map[string]*Part
	err    error
	failed chan struct{}
	keep   bool
	// serving is the life of what answers agents, served waits for its end.
	serving     context.Context
	stopServing context.CancelFunc
	served      []func()

	stopOnce sync.Once
	stopErr  error
}

// Client returns a client for a user in system:masters, without a client-side
// rate limit.
func (l *Lab) Client() kubernetes.Interface { return l.client }

// Dynamic is like Client, for objects of any kind.
func (l *Lab) Dynamic() dynamic.Interface { return l.dynamic }

// Dir returns the lab's folder. Its logs/ holds each part's log.
func (l *Lab) Dir() string { return l.folder.Path }

// Apply applies manifests (YAML or JSON) by server-side apply: custom resource
// definitions first, then namespaces, then the rest in the order given. When it
// returns, new kinds are served and admission policies are enforced.
func (l *Lab) Apply(ctx context.Context, manifests ...[]byte) error {
	return manifest.NewApplier(l.dynamic, l.client.Discovery()).Apply(ctx, manifests...)
}

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
