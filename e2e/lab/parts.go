package lab

import (
	"context"
	"embed"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/ebbtide/ebbtide/e2e/lab/build"
)

// Names of the parts, for Lab.Part.
const (
	Etcd                  = "etcd"
	KubeAPIServer         = "kube-apiserver"
	KubeControllerManager = "kube-controller-manager"
	KubeScheduler         = "kube-scheduler"
	Kwok                  = "kwok"
	Prometheus            = "prometheus"
	Scheduler             = "ebbtide-scheduler"
	Broker                = "ebbtide-broker"
)

const (
	serviceRange = "10.0.0.0/24"
	partGrace    = 5 * time.Second
	// Nodes are only declared lost by an explicit label, not because a busy
	// machine made kwok late.
	nodeGrace = "10m"
)

// controllers are the ones that Ebbtide's scenarios need. Without the node
// lifecycle controller a new node would keep the taint it is admitted with.
var controllers = []string{
	"clusterrole-aggregation-controller", "deployment-controller", "disruption-controller",
	"garbage-collector-controller", "job-controller", "namespace-controller",
	"node-lifecycle-controller", "pod-garbage-collector-controller", "replicaset-controller",
	"resourceclaim-controller",
	"resourcequota-controller", "serviceaccount-controller", "serviceaccount-token-controller",
	"statefulset-controller", "taint-eviction-controller", "ttl-after-finished-controller",
	"validatingadmissionpolicy-status-controller",
}

//go:embed stages
var stages embed.FS

type partSpec struct {
	name, path string
	args       []string
	environ    []string
	health     func(context.Context) error
	grace      time.Duration
	restart    bool
}

func (l *Lab) newPart(spec partSpec) *Part {
	if spec.grace == 0 {
		spec.grace = partGrace
	}
	p := &Part{
		name: spec.name, path: spec.path, args: spec.args, environ: spec.environ,
		health: spec.health, grace: spec.grace, restart: spec.restart,
		logFile: l.folder.Join("logs", spec.name+".log"),
		starter: l.starter, exited: l.partExited,
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parts[spec.name] = p
	return p
}

// dropPart forgets a part that never came up, so that its name is free again.
func (l *Lab) dropPart(p *Part) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.parts, p.name)
}

func (l *Lab) etcd() (*Part, error) {
	client, err := l.address(Etcd)
	if err != nil {
		return nil, err
	}
	peer, err := l.address(Etcd + "/peer")
	if err != nil {
		return nil, err
	}
	clientURL, peerURL := "https://"+client, "https://"+peer
	args := []string{
		"etcd", "--name=lab", "--data-dir=" + l.folder.Join("data", Etcd), "--log-level=warn",
		"--listen-client-urls=" + clientURL, "--advertise-client-urls=" + clientURL,
		"--listen-peer-urls=" + peerURL, "--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=lab=" + peerURL,
		"--cert-file=" + l.files.etcdCert, "--key-file=" + l.files.etcdKey,
		"--trusted-ca-file=" + l.files.etcdCA, "--client-cert-auth",
		"--peer-cert-file=" + l.files.etcdCert, "--peer-key-file=" + l.files.etcdKey,
		"--peer-trusted-ca-file=" + l.files.etcdCA, "--peer-client-cert-auth",
		"--unsafe-no-fsync", // the processes may crash, but not the machine
	}
	return l.newPart(partSpec{
		name: Etcd, path: l.bin(build.ControlPlane), args: args,
		health: probe(l.etcdHTTP, clientURL+"/health"),
	}), nil
}

func (l *Lab) apiServer() (*Part, error) {
	etcd, err := l.address(Etcd)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(l.apiAddr)
	if err != nil {
		return nil, err
	}
	audit, err := l.auditArgs()
	if err != nil {
		return nil, err
	}
	return l.newPart(partSpec{
		name: KubeAPIServer, path: l.bin(build.ControlPlane),
		health: l.healthy("https://" + l.apiAddr + "/readyz"),
		args: append([]string{
			"kube-apiserver",
			"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port=" + port,
			"--endpoint-reconciler-type=none",
			"--etcd-servers=https://" + etcd, "--etcd-cafile=" + l.files.etcdCA,
			"--etcd-certfile=" + l.files.etcdCert, "--etcd-keyfile=" + l.files.etcdKey,
			"--tls-cert-file=" + l.files.servingCert, "--tls-private-key-file=" + l.files.servingKey,
			"--client-ca-file=" + l.files.ca,
			// The aggregation layer, see Lab.ServeAPI.
			"--requestheader-client-ca-file=" + l.files.frontProxyCA,
			"--requestheader-allowed-names=" + frontProxyName,
			"--requestheader-username-headers=X-Remote-User",
			"--requestheader-group-headers=X-Remote-Group",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-",
			"--proxy-client-cert-file=" + l.files.proxyCert, "--proxy-client-key-file=" + l.files.proxyKey,
			"--authorization-mode=RBAC", "--allow-privileged=true",
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + l.files.accountPublic,
			"--service-account-signing-key-file=" + l.files.accountPrivate,
			"--service-cluster-ip-range=" + serviceRange,
			// One machine's worth of clients: no queue may form in front of a
			// test that measures how long something takes.
			"--enable-priority-and-fairness=false",
			"--max-requests-inflight=4000", "--max-mutating-requests-inflight=2000",
			"--event-ttl=15m", "--profiling=false",
		}, slices.Concat(audit, l.opts.APIServerArgs)...),
	}), nil
}

func (l *Lab) controllerManager() (*Part, error) {
	addr, err := l.address(KubeControllerManager)
	if err != nil {
		return nil, err
	}
	serving, err := l.servingArgs(addr)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := l.clientKubeconfig(KubeControllerManager, "system:kube-controller-manager")
	if err != nil {
		return nil, err
	}
	args := append([]string{"kube-controller-manager"}, serving...)
	args = append(args,
		"--kubeconfig="+kubeconfig, "--authentication-kubeconfig="+kubeconfig,
		"--authorization-kubeconfig="+kubeconfig, "--authentication-skip-lookup=true",
		"--controllers="+strings.Join(slices.Concat(controllers, l.opts.Autoscaler.controllers()), ","),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+l.files.accountPrivate,
		"--root-ca-file="+l.files.ca,
		"--leader-elect=false",
		"--kube-api-qps=1000", "--kube-api-burst=2000",
		"--concurrent-deployment-syncs=10", "--concurrent-replicaset-syncs=10",
		"--concurrent-job-syncs=20", "--concurrent-gc-syncs=20", "--concurrent-namespace-syncs=10",
		"--node-monitor-grace-period="+nodeGrace,
	)
	args = append(args, l.opts.Autoscaler.args()...)
	return l.newPart(partSpec{
		name: KubeControllerManager, path: l.bin(build.ControlPlane), args: args,
		health: l.healthy("https://" + addr + "/healthz"),
	}), nil
}

// stockScheduler is the scheduler that Kubernetes ships, for comparison.
func (l *Lab) stockScheduler() (*Part, error) {
	addr, err := l.address(KubeScheduler)
	if err != nil {
		return nil, err
	}
	serving, err := l.servingArgs(addr)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := l.clientKubeconfig(KubeScheduler, "system:kube-scheduler")
	if err != nil {
		return nil, err
	}
	text, err := completeScheduler(nil, kubeconfig)
	if err != nil {
		return nil, err
	}
	config, err := l.folder.Write("config/"+KubeScheduler+".yaml", text)
	if err != nil {
		return nil, err
	}
	args := append([]string{"kube-scheduler"}, serving...)
	return l.newPart(partSpec{
		name: KubeScheduler, path: l.bin(build.ControlPlane),
		args: append(args, "--config="+config, "--authentication-skip-lookup=true",
			"--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig),
		health: l.healthy("https://" + addr + "/readyz"),
	}), nil
}

func (l *Lab) kwok() (*Part, error) {
	addr, err := l.address(Kwok)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := l.clientKubeconfig(Kwok, "lab-kwok")
	if err != nil {
		return nil, err
	}
	text, err := stages.ReadFile("stages/kwok.yaml")
	if err != nil {
		return nil, fmt.Errorf("read kwok's stages: %w", err)
	}
	if text, err = withoutPrograms(text, l.opts.Programs); err != nil {
		return nil, err
	}
	if l.opts.handsGPUs() {
		if text, err = withoutGPUs(text); err != nil {
			return nil, err
		}
	}
	config, err := l.folder.Write("config/kwok.yaml", text)
	if err != nil {
		return nil, err
	}
	return l.newPart(partSpec{
		name: Kwok, path: l.bin(build.Kwok),
		args: []string{
			"--kubeconfig=" + kubeconfig, "--config=" + config, "--manage-all-nodes=true",
			"--node-lease-duration-seconds=40", "--server-address=" + addr,
			"--node-ip=127.0.0.1", "--cidr=10.1.0.0/16",
		},
		health: l.healthy("http://" + addr + "/healthz"),
	}), nil
}

// servingArgs are the flags by which a Kubernetes component serves on addr.
func (l *Lab) servingArgs(addr string) ([]string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("read address %s: %w", addr, err)
	}
	return []string{
		"--bind-address=" + host, "--secure-port=" + port,
		"--tls-cert-file=" + l.files.servingCert, "--tls-private-key-file=" + l.files.servingKey,
		"--client-ca-file=" + l.files.ca,
	}, nil
}

// clientKubeconfig writes a kubeconfig for a part that is its own user.
func (l *Lab) clientKubeconfig(part, user string) (string, error) {
	pair, err := l.authority.Client(user)
	if err != nil {
		return "", err
	}
	return l.writeKubeconfig(part, &clientcmdapi.AuthInfo{
		ClientCertificateData: pair.CertPEM, ClientKeyData: pair.KeyPEM,
	})
}

func makeFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	return nil
}
