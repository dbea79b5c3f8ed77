package stage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/e2e/engine"
	"github.com/ebbtide/ebbtide/e2e/traces"
)

// night is a configuration that is good.
func night() Config {
	return Config{
		Nodes: 70, Speed: 360, From: 11 * time.Hour, To: 20 * time.Hour, LowWater: 50, HighWater: 80, Warm: 1,
		MaxGrace: 3 * time.Second, ModelLoad: 2 * time.Second, Target: 0.65,
	}
}

// missed are the targets that the account misses, at the bounds of the demo of a day.
func missed(a *Account) []error {
	var t Targets
	a.Check(&t, 0.7, 2*time.Second)
	return t.Missed()
}

func TestBadConfigurationsNameTheFlag(t *testing.T) {
	if err := night().Validate(4, 1000); err != nil {
		t.Errorf("what is good: %v", err)
	}
	for want, change := range map[string]func(*Config){
		"--nodes":      func(c *Config) { c.Nodes = 3 },
		"to 1000":      func(c *Config) { c.Nodes = 1001 },
		"--speed":      func(c *Config) { c.Speed = 0 },
		"--from":       func(c *Config) { c.From = c.To },
		"--to":         func(c *Config) { c.To = 25 * time.Hour },
		"--low-water":  func(c *Config) { c.LowWater = c.HighWater },
		"--high-water": func(c *Config) { c.HighWater = 101 },
		"--warm":       func(c *Config) { c.Warm = -1 },
		"--max-grace":  func(c *Config) { c.MaxGrace = 0 },
		"--model-load": func(c *Config) { c.ModelLoad = -1 },
		"target":       func(c *Config) { c.Target = 0 },
	} {
		c := night()
		change(&c)
		if err := c.Validate(4, 1000); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to name %s", err, want)
		}
	}
}

func TestEveryMissedTargetIsAnError(t *testing.T) {
	good := func() *Account {
		a := &Account{Waits: 10, Events: 1000, Late: 10}
		a.Decisions.Decisions = 7
		a.Result = Result{LentShareOfOracle: 0.7, OnlineWaitSecondsP99: 5, MaxGraceSeconds: 3, LedgerCheck: LedgerOK, Reclaims: 4}
		return a
	}
	if errs := missed(good()); len(errs) != 0 {
		t.Errorf("all targets reached: %v", errs)
	}
	for want, change := range map[string]func(*Account){
		"lawViolations":        func(a *Account) { a.LawViolations = 1 },
		"lentShareOfOracle":    func(a *Account) { a.LentShareOfOracle = 0.699 },
		"onlineWaitSecondsP99": func(a *Account) { a.OnlineWaitSecondsP99 = 5.01 },
		"needlessEvictions":    func(a *Account) { a.NeedlessEvictions = 1 },
		"ledgerCheck":          func(a *Account) { a.LedgerCheck = "failed" },
		"no online pod":        func(a *Account) { a.Waits = 0 },
		"no decision":          func(a *Account) { a.Decisions.Decisions = 0 },
		"torn":                 func(a *Account) { a.Decisions.Torn = true },
		"not on record":        func(a *Account) { a.Decisions.Missing = 1 },
		"without a recorded":   func(a *Account) { a.Unrecorded = 1 },
		"too late":             func(a *Account) { a.Late = 11 },
	} {
		a := good()
		change(a)
		if errs := missed(a); len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("missed %v, want %s alone", errs, want)
		}
	}
}

// A record that lacks what the auditor has seen does not pass.
func TestAnEmptyRecordIsAMissedTarget(t *testing.T) {
	path := filepath.Join(t.TempDir(), recordFile)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := &Account{Waits: 1, Result: Result{LentShareOfOracle: 1, LedgerCheck: LedgerOK}, asked: []string{"vision/l1"}}
	if err := a.auditDecisions(path); err != nil {
		t.Fatal(err)
	}
	missed := errors.Join(missed(a)...)
	for _, want := range []string{"no decision is on record", "1 loans were asked back without"} {
		if missed == nil || !strings.Contains(missed.Error(), want) {
			t.Errorf("missed %v, want it to contain %q", missed, want)
		}
	}
}

// A job waits while it is suspended, and ends once.
func TestJobsAreCounted(t *testing.T) {
	f := NewJobs()
	j := night().Job("a", 2, PodSpec(resourceGPU, 8, 1), time.Hour, time.Second)
	units := func(j *batchv1.Job) int64 { return Units(j, resourceGPU) }
	j.UID, j.Spec.Suspend = "a", ptr.To(true)
	f.Observe(j)
	if c := f.Counts(); c.Waiting != 1 || f.Waiting(units) != 16 {
		t.Errorf("%+v: want one job of 16 units waiting", c)
	}
	j.Spec.Suspend = ptr.To(false)
	f.Observe(j)
	if c := f.Counts(); c.Waiting != 0 || f.Waiting(units) != 0 {
		t.Errorf("%+v: want none waiting", c)
	}
	j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	f.Observe(j)
	f.Observe(j)
	if c := f.Counts(); c.Finished != 1 || c.Failed != 0 {
		t.Errorf("%+v: want one finished", c)
	}
}

// With the rate that the demo chooses, the replicas settle at the target share of
// their slots.
func TestTheRequestRateFillsTheTargetShare(t *testing.T) {
	sizes, err := traces.AzureRequests()
	if err != nil {
		t.Fatal(err)
	}
	model := engine.DefaultModel(Service)
	rate := requestRate(model, sizes, 0.65) * 10
	f, err := engine.NewFleet(model, sizes, func(time.Duration) float64 { return rate }, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		f.SetReplica(string(rune('a'+i)), true)
	}
	sum, n := 0.0, 0
	for at := time.Second; at < time.Hour; at += time.Second {
		f.Advance(at)
		if at > 5*time.Minute {
			sum += float64(f.Totals().InFlight) / float64(10*model.Slots)
			n++
		}
	}
	if got := sum / float64(n); got < 0.63 || got > 0.67 {
		t.Errorf("replicas are %.1f%% full, want 65%%", got*100)
	}
}
