package docs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/e2e/engine"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/build"
	"github.com/ebbtide/ebbtide/e2e/traces"
	"github.com/ebbtide/ebbtide/e2e/virtual"
)

const (
	// nodes and gpus are what the pages say of their cluster.
	nodes, gpus = 4, 8
	// servingTeam and service are where pages have theirs.
	servingTeam, service = "serving", "chat"

	commandLimit = 10 * time.Minute
	lookAgain    = 10 * time.Minute
)

// inPod is the broker's program as a pod has it that mounts the ledger's volume.
const inPod = `#!/bin/bash
exec %q "${@//\/var\/lib\/ebbtide/%s}"
`

// Cluster is what the pages begin with: four nodes of eight GPUs, Kubernetes' own
// scheduler, and Prometheus, which reads an engine for each pod of the Deployment
// serving/chat, all of them idle. Ebbtide is not there. What a page installs is started for
// real, see Settle.
type Cluster struct {
	*lab.Lab
	Runner
	logf func(format string, args ...any)

	ours     map[string]*started
	stop     context.CancelFunc
	players  sync.WaitGroup
	mu       sync.Mutex
	failures error
}

// Start starts a cluster, and builds what its pages call. One that is returned with an error
// is to be stopped all the same.
func Start(ctx context.Context, logf func(format string, args ...any)) (*Cluster, error) {
	c := &Cluster{logf: logf, ours: map[string]*started{}, stop: func() {}}
	bin, err := build.Programs(ctx, logf, build.Kubectl, build.Helm, build.Broker, build.Scheduler)
	if err != nil {
		return c, err
	}
	engines, err := engine.NewServer()
	if err != nil {
		return c, err
	}
	var specs []lab.NodeSpec
	for i := range nodes {
		specs = append(specs, lab.NodeSpec{Name: fmt.Sprintf("gpu-%d", i), GPUs: gpus})
	}
	c.Lab, err = lab.Start(ctx, lab.Options{
		KubeScheduler: true, Nodes: specs, SDURL: engines.TargetsURL(), ScrapeInterval: time.Second, Logf: logf,
	})
	if err != nil {
		return c, err
	}
	if err := c.play(engines); err != nil {
		return c, err
	}
	return c, c.furnish(ctx, bin)
}

// Stop stops all of it.
func (c *Cluster) Stop() error {
	c.stop()
	var err error
	if c.Lab != nil {
		err = c.Lab.Stop()
	}
	c.players.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(err, c.failures)
}

// play serves the load of idle engines, and volumes.
func (c *Cluster) play(engines *engine.Server) error {
	sizes, err := traces.AzureRequests()
	if err != nil {
		return err
	}
	idle := func(time.Duration) float64 { return 0 }
	fleet, err := engine.NewFleet(engine.DefaultModel(service), sizes, idle, 1)
	if err != nil {
		return err
	}
	engines.Add(fleet)
	clock, err := virtual.NewClock(time.Now(), 0, 1)
	if err != nil {
		return err
	}
	var ctx context.Context
	ctx, c.stop = context.WithCancel(context.Background())
	c.player(ctx, func() error { return engines.Serve(ctx) })
	c.player(ctx, func() error { return engine.Follow(ctx, c.Client(), servingTeam, "app="+service, fleet) })
	c.player(ctx, func() error { engine.Play(ctx, fleet, clock); return nil })
	c.player(ctx, func() error { return provision(ctx, c.Client()) })
	return nil
}

func (c *Cluster) player(ctx context.Context, play func() error) {
	c.players.Add(1)
	go func() {
		defer c.players.Done()
		if err := play(); err != nil && ctx.Err() == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.failures = errors.Join(c.failures, err)
		}
	}()
}

// furnish makes the folder that commands run in: with what of the checkout pages name, and
// the programs on the PATH.
func (c *Cluster) furnish(ctx context.Context, bin string) error {
	root, err := build.Root()
	if err != nil {
		return err
	}
	place := filepath.Join(c.Lab.Dir(), "reader")
	checkout := filepath.Join(place, "ebbtide")
	for _, folder := range []string{"deploy", "scheduler-plugin/config", "docs"} {
		if err := os.CopyFS(filepath.Join(checkout, folder), os.DirFS(filepath.Join(root, folder))); err != nil {
			return fmt.Errorf("copy %s: %w", folder, err)
		}
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		return fmt.Errorf("read the first page: %w", err)
	}
	own := filepath.Join(place, "bin")
	for _, folder := range []string{own, c.volume()} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("make a folder: %w", err)
		}
	}
	authority := filepath.Join(place, "ca.crt")
	for file, text := range map[string][]byte{
		filepath.Join(checkout, "README.md"): readme,
		filepath.Join(own, build.Broker):     fmt.Appendf(nil, inPod, filepath.Join(bin, build.Broker), c.volume()),
		authority:                            c.Config().CAData,
	} {
		if err := os.WriteFile(file, text, 0o755); err != nil {
			return fmt.Errorf("write what a reader has: %w", err)
		}
	}
	if err := buildClient(ctx, root, own); err != nil {
		return err
	}
	kubeconfig, err := c.UserKubeconfig("administrator", "system:masters")
	if err != nil {
		return err
	}
	web, err := c.web()
	if err != nil {
		return err
	}
	c.Runner = Runner{
		Dir: checkout, Limit: commandLimit, Again: lookAgain, Settle: c.Settle, Logf: c.logf,
		Environ: []string{
			"PATH=" + own + ":" + bin + ":" + os.Getenv("PATH"), "HOME=" + place, "TMPDIR=" + place, "LC_ALL=C.UTF-8",
			"KUBECONFIG=" + kubeconfig, "EBBTIDE_BROKER=https://" + web, "EBBTIDE_BROKER_CA=" + authority,
		},
	}
	return nil
}

// buildClient builds kubectl-ebbtide into a folder.
func buildClient(ctx context.Context, root, folder string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", folder+"/", "./broker/cmd/kubectl-ebbtide")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build kubectl-ebbtide: %w\n%s", err, out)
	}
	return nil
}

// Pages are the pages whose commands are run, in the order of somebody who tries Ebbtide:
// what one installs, the next ones use.
var Pages = []string{
	"README.md",
	"docs/tasks/quickstart.md",
	"docs/troubleshooting.md",
	"docs/operations/capacity.md",
	"docs/operations/upgrade.md",
	"docs/operations/backup-and-restore.md",
	"docs/operations/disaster.md",
}

// RunPages starts a cluster, runs the commands of all pages there, and stops it.
func RunPages(ctx context.Context, logf func(format string, args ...any)) (result Result, err error) {
	c, err := Start(ctx, logf)
	defer func() { err = errors.Join(err, c.Stop()) }()
	if err != nil {
		return result, err
	}
	for _, page := range Pages {
		one, err := c.Page(ctx, filepath.Join(c.Runner.Dir, page))
		if err != nil {
			return result, err
		}
		result.Add(one)
	}
	return result, nil
}
