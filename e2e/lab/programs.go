package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/e2e/lab/build"
)

// SystemNamespace is where the service accounts of brokers and schedulers live, and
// AgentNamespace where that of agents does.
const (
	SystemNamespace = "ebbtide-system"
	AgentNamespace  = "ebbtide-agent"
)

// programGrace is how long a broker or scheduler may take to stop.
const programGrace = 15 * time.Second

// Program describes how an Ebbtide binary is run. The zero value is usable for
// the scheduler.
type Program struct {
	// Name of the part; by default Broker or Scheduler. Give another for a
	// second copy.
	Name string
	// Config returns the contents of the file that is passed with --config. For
	// a scheduler without one, a configuration with its defaults is written. A
	// scheduler's is completed: clientConnection.kubeconfig is set, and leader
	// election is off unless the configuration says otherwise. A broker's gets a
	// certificate of the lab's.
	Config func(Env) ([]byte, error)
	// Args are flags beside those that the lab sets.
	Args func(Env) []string
	// Environ holds "NAME=value" pairs beside the lab's own environment.
	Environ []string
	// Health returns the URL that answers 200 once the program is ready. By
	// default /readyz of Env.Addr: http for a broker, https for a scheduler.
	Health func(Env) string
	// Through says which address the program takes for the API server's, and whose
	// authority it trusts there: those of something that stands between the two, and
	// lasts as long as the program. By default nothing does. See Env.Upstream.
	Through func(Env) (server string, ca []byte, err error)
	// Restart starts the program again, a second after it ended by itself, as a
	// kubelet would, once it has been ready. Otherwise such an end is an error
	// of the lab.
	Restart bool
}

// Env is what a program is told of the lab it runs in.
type Env struct {
	// Part is the program's own name in the lab.
	Part string
	// Dir is a folder of its own, which keeps its contents when it is restarted.
	Dir string
	// Kubeconfig is the path of its credentials.
	Kubeconfig string
	// PrometheusURL is empty in a lab without Prometheus.
	PrometheusURL string
	// Addr is a free address on loopback for health and metrics.
	Addr string

	lab *Lab
}

// Listen returns a further free address on loopback, "127.0.0.1:port", the same
// one whenever the program asks for the same purpose.
func (e Env) Listen(purpose string) (string, error) {
	return e.lab.address(e.Part + "/" + purpose)
}

// programKind is what brokers, or schedulers, have in common.
type programKind struct {
	binary    string
	namespace string // of its account
	account   string
	scheme    string
	command   func(l *Lab, p Program, e Env) ([]string, error)
	// kubeconfig writes its credentials; nil: those of its account.
	kubeconfig func(context.Context) (string, error)
}

var (
	brokers    = programKind{binary: build.Broker, namespace: SystemNamespace, account: "ebbtide-broker", scheme: "http", command: (*Lab).brokerArgs}
	schedulers = programKind{binary: build.Scheduler, namespace: SystemNamespace, account: "ebbtide-scheduler", scheme: "https", command: (*Lab).schedulerArgs}
	// The stock scheduler as one of the caller's programs differs from Ebbtide's in
	// nothing but the binary.
	stockSchedulers = programKind{binary: build.ControlPlane, namespace: SystemNamespace, account: "ebbtide-scheduler", scheme: "https", command: (*Lab).stockSchedulerArgs}
)

// StartBroker starts a broker and waits until it is ready. Two brokers need two
// names. One that ends before it is ready leaves nothing but its log, whose last
// lines the error shows.
func (l *Lab) StartBroker(ctx context.Context, p Program) (*Part, error) {
	if p.Name == "" {
		p.Name = Broker
	}
	return l.startProgram(ctx, brokers, p)
}

// StartScheduler starts an Ebbtide scheduler and waits until it is ready.
func (l *Lab) StartScheduler(ctx context.Context, p Program) (*Part, error) {
	if p.Name == "" {
		p.Name = Scheduler
	}
	return l.startProgram(ctx, schedulers, p)
}

// StartKubeScheduler starts the scheduler that Kubernetes ships, as
// Options.KubeScheduler does, but configured by the caller and with the credentials
// of an Ebbtide scheduler, so that the two can be compared. Its default name is
// KubeScheduler.
func (l *Lab) StartKubeScheduler(ctx context.Context, p Program) (*Part, error) {
	if p.Name == "" {
		p.Name = KubeScheduler
	}
	return l.startProgram(ctx, stockSchedulers, p)
}

// Env returns what the program of that name was told, for instance to find the
// address of its API.
func (l *Lab) Env(part string) (Env, error) {
	addr, err := l.address(part + "/")
	if err != nil {
		return Env{}, err
	}
	e := Env{Part: part, Dir: l.folder.Join("data", part), Addr: addr, lab: l}
	e.Kubeconfig = l.folder.Join("kubeconfig", part+".yaml")
	if l.promAddr != "" {
		e.PrometheusURL = l.PrometheusURL()
	}
	return e, nil
}

func (l *Lab) startProgram(ctx context.Context, kind programKind, p Program) (*Part, error) {
	if l.Part(p.Name) != nil {
		return nil, fmt.Errorf("start %s: a part of that name exists", p.Name)
	}
	bin, err := l.binary(ctx, kind.binary)
	if err != nil {
		return nil, err
	}
	env, err := l.Env(p.Name)
	if err != nil {
		return nil, err
	}
	if kind.kubeconfig == nil {
		kind.kubeconfig = func(ctx context.Context) (string, error) {
			return l.KubeconfigFor(ctx, kind.namespace, kind.account)
		}
	}
	if env.Kubeconfig, err = kind.kubeconfig(ctx); err != nil {
		return nil, err
	}
	if p.Through != nil {
		if env.Kubeconfig, err = l.kubeconfigThrough(env, p.Through); err != nil {
			return nil, err
		}
	}
	if err := makeFolder(env.Dir); err != nil {
		return nil, err
	}
	args, err := kind.command(l, p, env)
	if err != nil {
		return nil, fmt.Errorf("configure %s: %w", p.Name, err)
	}
	if p.Args != nil {
		args = append(args, p.Args(env)...)
	}
	health := kind.scheme + "://" + env.Addr + "/readyz"
	if p.Health != nil {
		health = p.Health(env)
	}
	part := l.newPart(partSpec{
		name: p.Name, path: bin, args: args, environ: p.Environ,
		health: l.healthy(health), grace: programGrace, restart: p.Restart,
	})
	if err := part.begin(ctx); err != nil {
		l.dropPart(part)
		return nil, errors.Join(err, part.Stop())
	}
	return part, nil
}

func (l *Lab) brokerArgs(p Program, e Env) ([]string, error) {
	args := []string{"--kubeconfig=" + e.Kubeconfig}
	if p.Config == nil {
		return args, nil
	}
	text, err := p.Config(e)
	if err != nil {
		return nil, err
	}
	if text, err = l.completeBroker(text, e); err != nil {
		return nil, err
	}
	path, err := l.folder.Write(filepath.Join("config", e.Part+".yaml"), text)
	if err != nil {
		return nil, err
	}
	return append(args, "--config="+path), nil
}

func (l *Lab) schedulerArgs(p Program, e Env) ([]string, error) {
	var text []byte
	if p.Config != nil {
		var err error
		if text, err = p.Config(e); err != nil {
			return nil, err
		}
	}
	text, err := completeScheduler(text, e.Kubeconfig)
	if err != nil {
		return nil, err
	}
	path, err := l.folder.Write(filepath.Join("config", e.Part+".yaml"), text)
	if err != nil {
		return nil, err
	}
	serving, err := l.servingArgs(e.Addr)
	if err != nil {
		return nil, err
	}
	return append(serving,
		"--config="+path,
		"--authentication-kubeconfig="+e.Kubeconfig,
		"--authentication-skip-lookup=true",
		"--authorization-kubeconfig="+e.Kubeconfig,
	), nil
}

func (l *Lab) stockSchedulerArgs(p Program, e Env) ([]string, error) {
	args, err := l.schedulerArgs(p, e)
	if err != nil {
		return nil, err
	}
	return append([]string{"kube-scheduler"}, args...), nil
}

// completeScheduler fills in what a KubeSchedulerConfiguration must say in a lab.
// kube-scheduler ignores --kubeconfig when it is given a configuration.
func completeScheduler(text []byte, kubeconfig string) ([]byte, error) {
	config := map[string]any{}
	if err := yaml.UnmarshalStrict(text, &config); err != nil {
		return nil, fmt.Errorf("read the KubeSchedulerConfiguration: %w", err)
	}
	setDefault(config, "apiVersion", "kubescheduler.config.k8s.io/v1")
	setDefault(config, "kind", "KubeSchedulerConfiguration")
	connection, err := section(config, "clientConnection")
	if err != nil {
		return nil, err
	}
	connection["kubeconfig"] = kubeconfig
	setDefault(connection, "qps", 1000)
	setDefault(connection, "burst", 2000)
	election, err := section(config, "leaderElection")
	if err != nil {
		return nil, err
	}
	setDefault(election, "leaderElect", false)
	return yaml.Marshal(config)
}

func setDefault(m map[string]any, key string, value any) {
	if _, ok := m[key]; !ok {
		m[key] = value
	}
}

func section(config map[string]any, name string) (map[string]any, error) {
	if config[name] == nil {
		config[name] = map[string]any{}
	}
	m, ok := config[name].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("read the KubeSchedulerConfiguration: %s must be an object", name)
	}
	return m, nil
}

// addresses remembers the address given out for each purpose.
type addresses struct {
	mu    sync.Mutex
	known map[string]string
}

// address returns the lab's address for a purpose, drawing it on first use.
func (l *Lab) address(purpose string) (string, error) {
	l.addrs.mu.Lock()
	defer l.addrs.mu.Unlock()
	if addr, ok := l.addrs.known[purpose]; ok {
		return addr, nil
	}
	addr, err := l.ports.Next()
	if err != nil {
		return "", err
	}
	if l.addrs.known == nil {
		l.addrs.known = map[string]string{}
	}
	l.addrs.known[purpose] = addr
	return addr, nil
}
