package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/mig/agent"
)

// plugin has the lab's device plugin restarted where an agent on a real node restarts a
// pod.
type plugin struct {
	client *http.Client
	// known is the last change that the plugin was restarted for.
	known string
}

func newPlugin(socket string) *plugin {
	return &plugin{client: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// Withdraw does nothing: NVIDIA's plugin cannot take one device back.
func (p *plugin) Withdraw(context.Context, []string) error { return nil }

// Advertise restarts the plugin once for each change. What the node offers then is in its
// status when the restart is done.
func (p *plugin) Advertise(ctx context.Context, change agent.Change) (bool, error) {
	if p.known == change.ID {
		return true, nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://plugin/restart", nil)
	if err != nil {
		return false, err
	}
	answer, err := p.client.Do(request)
	if err != nil {
		return false, fmt.Errorf("restart the device plugin: %w", err)
	}
	if err := answer.Body.Close(); err != nil {
		return false, fmt.Errorf("restart the device plugin: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return false, fmt.Errorf("restart the device plugin: %s", answer.Status)
	}
	p.known = change.ID
	return true, nil
}

// doctor finds the node lendable unless a file says why it is not.
type doctor struct{ dir string }

// Lendable is the condition of that name.
func (d doctor) Lendable(context.Context) agent.Verdict {
	text, err := os.ReadFile(filepath.Join(d.dir, "doctor"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return agent.Verdict{Status: metav1.ConditionTrue, Reason: "Simulated", Message: "the node is simulated"}
	case err != nil:
		return agent.Verdict{Status: metav1.ConditionUnknown, Reason: "Unreadable", Message: err.Error()}
	}
	return agent.Verdict{Status: metav1.ConditionFalse, Reason: "Leaky", Message: strings.TrimSpace(string(text))}
}

// failpoint kills this program at the step that a file names, once: "STEP" or "STEP N" for
// the step after N others of its name.
func failpoint(dir string) func(string) {
	path := filepath.Join(dir, "failpoint")
	passed := map[string]int{}
	return func(step string) {
		text, err := os.ReadFile(path)
		if err != nil {
			clear(passed)
			return
		}
		name, after, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
		if name != step {
			return
		}
		if n, err := strconv.Atoi(after); err == nil && passed[step] < n {
			passed[step]++
			return
		}
		if os.Remove(path) == nil {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}
}
