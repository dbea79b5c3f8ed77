package install_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/install"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// handOver stops kube-scheduler, as the page about schedulers says.
func (s *site) handOver(t *testing.T) {
	t.Helper()
	if err := s.Part(lab.KubeScheduler).Stop(); err != nil {
		t.Fatal(err)
	}
	s.stopped = true
}

// start runs Ebbtide as the cluster's objects say.
func (s *site) start(t *testing.T, scheduler bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s.generation++
	broker, err := install.Broker(ctx, s.Client(), fmt.Sprintf("%s-%d", lab.Broker, s.generation), s.local(t))
	if err != nil {
		t.Fatal(err)
	}
	part, err := s.StartBroker(ctx, *broker)
	if err != nil {
		t.Fatal(err)
	}
	s.parts = append(s.parts, part)
	if !scheduler {
		return
	}
	program, err := install.Scheduler(ctx, s.Client(), fmt.Sprintf("%s-%d", lab.Scheduler, s.generation))
	if err != nil {
		t.Fatal(err)
	}
	if part, err = s.StartScheduler(ctx, *program); err != nil {
		t.Fatal(err)
	}
	s.parts = append(s.parts, part)
}

// local is what of a broker's configuration belongs to this machine, and a test's patience
// for what takes minutes by default.
func (s *site) local(t *testing.T) func(lab.Env) map[string]any {
	folder := s.folder
	return func(e lab.Env) map[string]any {
		web, err := e.Listen("web")
		if err != nil {
			t.Error(err)
		}
		return map[string]any{
			"prometheus":  map[string]any{"url": s.PrometheusURL()},
			"ledger":      map[string]any{"path": folder + "/ledger.db"},
			"http":        map[string]any{"bindAddress": web},
			"metrics":     map[string]any{"bindAddress": "0"},
			"healthProbe": map[string]any{"bindAddress": e.Addr},
			"interval":    "1s",
			"signals":     map[string]any{"youngReplica": "1s", "stableWindow": "2s", "panicWindow": "1s", "forecast": false},
		}
	}
}

// stop ends what start has started.
func (s *site) stop(t *testing.T) {
	t.Helper()
	for _, part := range s.parts {
		if err := part.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	s.parts = nil
}
