package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/mig/agent"
)

// Result of a check.
type Result string

// The results.
const (
	OK      Result = "ok"
	Failed  Result = "failed"
	Unknown Result = "unknown"
)

// Names of the checks.
const (
	CheckDriver        = "driver-version"
	CheckToolkit       = "toolkit-version"
	CheckEnvironment   = "visible-devices-variable"
	CheckVolumeMounts  = "visible-devices-mounts"
	CheckDeviceNames   = "cdi-device-names"
	CheckFromContainer = "files-from-containers"
)

// Names are all checks, in the order of a report.
func Names() []string {
	return []string{CheckDriver, CheckToolkit, CheckEnvironment, CheckVolumeMounts, CheckDeviceNames, CheckFromContainer}
}

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Result Result `json:"result"`
	// Found is what was found, and Todo what to do if that is not right.
	Found string `json:"found"`
	Todo  string `json:"todo,omitempty"`
	// Accepted: an administrator lends on the node all the same.
	Accepted bool `json:"accepted,omitempty"`
}

// Node is what is examined.
type Node interface {
	// Driver is the version of NVIDIA's driver.
	Driver(ctx context.Context) (string, error)
	// Toolkit is the version of NVIDIA's container toolkit.
	Toolkit(ctx context.Context) (string, error)
	// Settings are those of NVIDIA's container runtime.
	Settings(ctx context.Context) (Settings, error)
	// Refuses reports whether the cluster refuses pods that name devices themselves, by
	// Ebbtide's policy ebbtide-devices.
	Refuses(ctx context.Context) (bool, error)
}

// Examine makes a report.
func Examine(ctx context.Context, n Node, accepted []string) []Check {
	refuses, refusesErr := n.Refuses(ctx)
	settings, settingsErr := n.Settings(ctx)
	checks := []Check{checkDriver(ctx, n), checkToolkit(ctx, n)}
	for _, check := range []func(Settings, bool, error) Check{checkEnvironment, checkVolumeMounts, checkDeviceNames, checkFromContainer} {
		c := check(settings, refuses, refusesErr)
		if settingsErr != nil && c.Name != CheckDeviceNames {
			c.Result, c.Found = Unknown, settingsErr.Error()
			c.Todo = "let the agent read the settings of NVIDIA's container runtime (--host-root, --runtime-config)"
		}
		checks = append(checks, c)
	}
	for i := range checks {
		checks[i].Accepted = checks[i].Result != OK && slices.Contains(accepted, checks[i].Name)
		if checks[i].Result == OK {
			checks[i].Todo = ""
		}
	}
	return checks
}

// Verdict is the condition Lendable of a report.
func Verdict(checks []Check) agent.Verdict {
	var failed, unknown []string
	for _, c := range checks {
		said := c.Name + ": " + c.Found
		switch {
		case c.Accepted, c.Result == OK:
		case c.Result == Failed:
			failed = append(failed, said)
		default:
			unknown = append(unknown, said)
		}
	}
	switch {
	case len(failed) > 0:
		return agent.Verdict{Status: metav1.ConditionFalse, Reason: "ChecksFailed", Message: strings.Join(append(failed, unknown...), "; ")}
	case len(unknown) > 0:
		return agent.Verdict{Status: metav1.ConditionUnknown, Reason: "ChecksUnknown", Message: strings.Join(unknown, "; ")}
	case len(checks) == 0:
		return agent.Verdict{Status: metav1.ConditionUnknown, Reason: "ChecksUnknown", Message: "nothing was examined"}
	}
	message := "All checks are passed"
	if accepted := acceptedNames(checks); accepted != "" {
		message = "All other checks are passed; an administrator accepts " + accepted
	}
	return agent.Verdict{Status: metav1.ConditionTrue, Reason: "ChecksPassed", Message: message}
}

func acceptedNames(checks []Check) string {
	var names []string
	for _, c := range checks {
		if c.Accepted {
			names = append(names, c.Name)
		}
	}
	return strings.Join(names, ", ")
}

// CheckNames returns an error for a name that is none of a check's.
func CheckNames(names []string) error {
	for _, name := range names {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("%q is none of the checks: %s", name, strings.Join(Names(), ", "))
		}
	}
	return nil
}

// Examiner examines a node now and then.
type Examiner struct {
	Node     Node
	Accepted []string
	// Every is how long a report counts. One with something else than OK counts a tenth of
	// it.
	Every time.Duration
	Clock clock.PassiveClock

	mu   sync.Mutex
	at   time.Time
	last []Check
}

// Lendable is the condition of that name.
func (e *Examiner) Lendable(ctx context.Context) agent.Verdict {
	e.mu.Lock()
	defer e.mu.Unlock()
	every := e.Every
	if slices.ContainsFunc(e.last, func(c Check) bool { return c.Result != OK }) {
		every /= 10
	}
	if e.last == nil || e.Clock.Since(e.at) >= every {
		e.last, e.at = Examine(ctx, e.Node, e.Accepted), e.Clock.Now()
	}
	return Verdict(e.last)
}
