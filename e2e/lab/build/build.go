// Package build finds the programs that a lab runs, and builds the ones that are
// missing or older than their source.
//
// Builds are serialised by a lock on a file, so that several test packages that
// start at once build everything once. What is up to date is told by a stamp
// beside each binary, a hash of what it was built from, because even a build
// with nothing to do links for seconds.
package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Names of the programs, which are the names of their files as well.
const (
	ControlPlane = "controlplane"
	Kwok         = "kwok"
	Prometheus   = "prometheus"
	// Promtool checks and tests Prometheus' rules. Its module is its own, so that what else
	// it needs makes nothing anew that is built beside Prometheus.
	Promtool  = "promtool"
	Operators = "operators"
	Broker    = "ebbtide-broker"
	Scheduler = "ebbtide-scheduler"
	// Agent is Ebbtide's agent on simulated GPUs.
	Agent = "lab-agent"
	// Kubectl and Helm are what people install with.
	Kubectl = "kubectl"
	Helm    = "helm"
	// SampleTrainer is a training program that pods can be, see lab.Options.Programs.
	SampleTrainer = "sample-trainer"
)

// kubernetesVersion is the version of k8s.io/kubernetes in the nested module.
// An unversioned API server makes clients fail on parsing its version.
const kubernetesVersion = "v1.36.3"

// helmVersion is the version of helm.sh/helm in the clients' module. Without it helm takes
// itself for the first release of its minor.
const helmVersion = "v4.2.4"

const modulePath = "github.com/ebbtide/ebbtide"

// target says how one program is built.
type target struct {
	pkg    string // as go build takes it, from dir
	dir    string // module, relative to the repository's root
	inputs []string
	tags   string
	ld     string
}

var nestedInputs = []string{"e2e/controlplane"}

var productInputs = []string{"go.mod", "go.sum", "broker", "deploy", "mig", "quota", "scheduler-plugin"}

var targets = map[string]target{
	ControlPlane: {pkg: "./cmd/controlplane", dir: "e2e/controlplane", inputs: nestedInputs, ld: versionFlags()},
	Kwok:         {pkg: "./cmd/kwok", dir: "e2e/controlplane", inputs: nestedInputs},
	Prometheus: {
		pkg: "github.com/prometheus/prometheus/cmd/prometheus", dir: "e2e/controlplane",
		inputs: nestedInputs, tags: "remove_all_sd,enable_http_sd",
	},
	Promtool: {
		pkg: "github.com/prometheus/prometheus/cmd/promtool", dir: "e2e/promtool",
		inputs: []string{"e2e/promtool"}, tags: "remove_all_sd",
	},
	Kubectl: {pkg: "./cmd/kubectl", dir: "e2e/clients", inputs: []string{"e2e/clients"}, ld: versionFlags()},
	Helm: {
		pkg: "helm.sh/helm/v4/cmd/helm", dir: "e2e/clients", inputs: []string{"e2e/clients"},
		ld: " -X helm.sh/helm/v4/internal/version.version=" + helmVersion + " -X helm.sh/helm/v4/internal/version.gitTreeState=clean",
	},
	Operators: {pkg: "./cmd/operators", dir: "e2e/operators", inputs: []string{"e2e/operators"}},
	Broker:    {pkg: "./broker/cmd/ebbtide-broker", dir: ".", inputs: productInputs},
	Scheduler: {pkg: "./scheduler-plugin/cmd/ebbtide-scheduler", dir: ".", inputs: productInputs, ld: versionFlags()},
	Agent: {
		pkg: "./e2e/cmd/lab-agent", dir: ".",
		inputs: []string{"go.mod", "go.sum", "mig", "broker/api", "e2e/cmd/lab-agent"},
	},
	SampleTrainer: {
		pkg: "./e2e/cmd/sample-trainer", dir: ".",
		inputs: []string{"e2e/cmd/sample-trainer", "e2e/sample"},
	},
}

func versionFlags() string {
	var b strings.Builder
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		fmt.Fprintf(&b, " -X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=36", pkg, kubernetesVersion, pkg, pkg)
	}
	return b.String()
}

// Programs makes sure that the named programs stand in the repository's bin/
// folder, built from the source as it is, and returns that folder. It must run
// inside the repository. logf is told what is being built.
func Programs(ctx context.Context, logf func(format string, args ...any), names ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", fmt.Errorf("make the folder for binaries: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(bin, ".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	for _, name := range names {
		t, ok := targets[name]
		if !ok {
			return "", fmt.Errorf("build %s: no such program", name)
		}
		if err := t.ensure(ctx, root, filepath.Join(bin, name), logf); err != nil {
			return "", fmt.Errorf("build %s: %w", name, err)
		}
	}
	return bin, nil
}

// Check reports the first of the named programs that dir lacks.
func Check(dir string, names ...string) error {
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("find program %s: %w", name, err)
		}
	}
	return nil
}

// Root returns the repository's root: the nearest folder upwards whose go.mod is
// that of this module.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for start := dir; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module "+modulePath+"\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the repository: no folder from %s upwards holds the module %s", start, modulePath)
		}
	}
}

func (t target) ensure(ctx context.Context, root, out string, logf func(string, ...any)) error {
	stamp := out + ".stamp"
	want, err := t.hash(root)
	if err != nil {
		return err
	}
	have, err := os.ReadFile(stamp)
	if err == nil && string(have) == want && Check(filepath.Dir(out), filepath.Base(out)) == nil {
		return nil
	}
	logf("building %s", filepath.Base(out))
	began := time.Now()
	args := []string{"build", "-ldflags", "-s -w" + t.ld, "-o", out}
	if t.tags != "" {
		args = append(args, "-tags", t.tags)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, t.pkg)...)
	cmd.Dir = filepath.Join(root, t.dir)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", t.pkg, err, output)
	}
	if err := os.WriteFile(stamp, []byte(want), 0o644); err != nil {
		return fmt.Errorf("write the stamp: %w", err)
	}
	logf("built %s in %s", filepath.Base(out), time.Since(began).Round(100*time.Millisecond))
	return nil
}

// lock takes an exclusive lock on a file, waiting for whoever holds it. The
// kernel lets go of it when its holder dies.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the build lock: %w", err)
	}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("take the build lock: %w", err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for the build lock: %w", context.Cause(ctx))
		case <-ticker.C:
		}
	}
}
