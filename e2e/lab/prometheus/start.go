// Package prometheus starts a real Prometheus for a test.
//
// It promises that the server answers when Start returns, and is gone when the test ends.
package prometheus

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/e2e/lab/build"
	"github.com/ebbtide/ebbtide/e2e/lab/host"
	"github.com/ebbtide/ebbtide/e2e/lab/process"
)

// Start starts one with a configuration, as its file has it, and returns its URL.
func Start(t testing.TB, config map[string]any, flags ...string) string {
	t.Helper()
	folder := t.TempDir()
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "prometheus.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	bin, err := build.Programs(t.Context(), t.Logf, build.Prometheus)
	if err != nil {
		t.Fatal(err)
	}
	address := free(t)
	starter := process.NewStarter()
	t.Cleanup(starter.Close)
	var log bytes.Buffer
	cmd := exec.Command(filepath.Join(bin, build.Prometheus), append([]string{
		"--config.file=" + file, "--web.listen-address=" + address,
		"--storage.tsdb.path=" + filepath.Join(folder, "data"), "--storage.tsdb.no-lockfile", "--log.level=error",
	}, flags...)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	running, err := starter.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := running.Stop(10 * time.Second); err != nil || t.Failed() {
			t.Logf("prometheus: %v\n%s", err, log.String())
		}
	})
	Wait(t, func() bool { return ready(t.Context(), "http://"+address+"/-/ready") })
	return "http://" + address
}

// Wait waits for what another program does on a busy machine.
func Wait(t testing.TB, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.NewTimer(2 * time.Minute)
	defer timeout.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-timeout.C:
			t.Fatal("not within 2m")
		}
	}
}

func ready(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// free is an address that stays the test's: no outgoing connection is given its port.
func free(t testing.TB) string {
	t.Helper()
	ports := &host.Ports{}
	address, err := ports.Next()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ports.Close() })
	return address
}
