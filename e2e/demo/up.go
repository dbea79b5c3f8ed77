package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/ebbtide/ebbtide/e2e/demo/stage"
	"github.com/ebbtide/ebbtide/e2e/engine"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/traces"
	"github.com/ebbtide/ebbtide/e2e/trainer"
	"github.com/ebbtide/ebbtide/e2e/virtual"
)

// Up starts a cluster with the demo's tenants and an idle service, and keeps it
// until ctx ends. It prints how to reach it as each of the tenants' users. A job
// runs until it is stopped, unless it says lab.ebbtide.dev/duration.
func Up(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	sizes, err := traces.AzureRequests()
	if err != nil {
		return err
	}
	idle := func(time.Duration) float64 { return 0 }
	fleet, err := engine.NewFleet(model(), sizes, idle, c.Seed)
	if err != nil {
		return err
	}
	server, err := engine.NewServer()
	if err != nil {
		return err
	}
	server.Add(fleet)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Serve(ctx) })
	group.Go(func() error { return keep(ctx, c, server, fleet) })
	return group.Wait()
}

func keep(ctx context.Context, c Config, server *engine.Server, fleet *engine.Fleet) (err error) {
	w, err := newTown(ctx, c, server.TargetsURL())
	if w != nil {
		defer func() { err = errors.Join(err, w.Stop()) }()
	}
	if err != nil {
		return err
	}
	players, ctx := errgroup.WithContext(ctx)
	players.Go(func() error { return engine.Follow(ctx, w.Client(), stage.ServingTeam, stage.ServiceSelector, fleet) })
	players.Go(func() error { return trainer.New(w.Client(), logr.Discard()).Run(ctx) })
	players.Go(func() error {
		clock, err := virtual.NewClock(time.Now(), 0, 1)
		if err == nil {
			engine.Play(ctx, fleet, clock)
		}
		return err
	})
	players.Go(func() error {
		if err := introduce(ctx, c, w); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.Failed():
			return w.Err()
		}
	})
	return players.Wait()
}

// introduce scales the service to a quarter and prints the users' kubeconfigs.
func introduce(ctx context.Context, c Config, w *stage.Town) error {
	replicas := int64(c.Nodes+3) / 4
	if err := w.Scale(ctx, replicas); err != nil {
		return err
	}
	if err := w.AwaitReady(ctx, replicas); err != nil {
		return err
	}
	admin, err := w.UserKubeconfig("admin", "system:masters")
	if err != nil {
		return err
	}
	broker, err := door(w)
	if err != nil {
		return err
	}
	out := c.Out
	fmt.Fprintf(out, "# %d of %d nodes serve; the others are lent to whoever submits. In another terminal, the first line and one of the others:\n", replicas, c.Nodes)
	fmt.Fprintf(out, "%s\n", broker)
	fmt.Fprintf(out, "export KUBECONFIG=%s   # administrator\n", admin)
	for _, b := range borrowers {
		path, err := w.UserKubeconfig(b.team)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "export KUBECONFIG=%s   # user of team %s, namespace %s, queue %s\n", path, b.team, b.team, stage.Queue)
	}
	fmt.Fprintf(out, "# Prometheus: %s\n# Ctrl-C stops everything.\n", w.PrometheusURL())
	return nil
}

// door is what a shell has to know to ask the broker, which has no pod that kubectl could
// lead to.
func door(w *stage.Town) (string, error) {
	env, err := w.Env(lab.Broker)
	if err != nil {
		return "", err
	}
	address, err := env.Listen("web")
	if err != nil {
		return "", err
	}
	authority := filepath.Join(w.Dir(), "broker-ca.crt")
	if err := os.WriteFile(authority, w.Config().CAData, 0o644); err != nil {
		return "", fmt.Errorf("write who vouches for the broker: %w", err)
	}
	return fmt.Sprintf("export EBBTIDE_BROKER=https://%s EBBTIDE_BROKER_CA=%s", address, authority), nil
}
