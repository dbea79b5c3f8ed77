package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/e2e/engine"
	"github.com/ebbtide/ebbtide/e2e/traces"
)

func TestBadConfigurationsNameTheFlag(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	for want, change := range map[string]func(*Config){
		"--nodes":      func(c *Config) { c.Nodes = 0 },
		"--speed":      func(c *Config) { c.Speed = 0 },
		"--from":       func(c *Config) { c.From = c.To },
		"--to":         func(c *Config) { c.To = 25 * time.Hour },
		"--low-water":  func(c *Config) { c.LowWater = c.HighWater },
		"--high-water": func(c *Config) { c.HighWater = 101 },
		"--warm":       func(c *Config) { c.Warm = -1 },
		"--max-grace":  func(c *Config) { c.MaxGrace = 0 },
		"--model-load": func(c *Config) { c.ModelLoad = -1 },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to name %s", err, want)
		}
	}
}

// The keys of the last line are a promise to whoever reads it.
func TestTheLastLineIsTheResult(t *testing.T) {
	a := &account{config: Default()}
	a.LedgerCheck = ledgerOK
	var out bytes.Buffer
	a.write(&out)
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	want := `{"nodes":0,"gpus":0,"simulatedHours":0,"oracleLendableGPUHours":0,"lentGPUHours":0,"lentShareOfOracle":0,` +
		`"jobsFinished":0,"loans":0,"reclaims":0,"evictedPods":0,"needlessEvictions":0,"onlineWaitSecondsP99":0,` +
		`"maxGraceSeconds":0,"lawViolations":0,"ledgerEntries":0,"ledgerCheck":"ok"}`
	if diff := cmp.Diff(want, lines[len(lines)-1]); diff != "" {
		t.Errorf("last line (-want +got):\n%s", diff)
	}
	if !json.Valid([]byte(lines[len(lines)-1])) {
		t.Error("the last line is not JSON")
	}
}

func TestEveryMissedTargetIsAnError(t *testing.T) {
	good := func() *account {
		a := &account{waits: 10, events: 1000, late: 10, demand: demand{longest: settle}}
		a.decisions.Decisions = 7
		a.Result = Result{LentShareOfOracle: 0.7, OnlineWaitSecondsP99: 5, MaxGraceSeconds: 3, LedgerCheck: ledgerOK, Reclaims: 4}
		return a
	}
	if missed := good().missed(); len(missed) != 0 {
		t.Errorf("all targets reached: %v", missed)
	}
	for want, change := range map[string]func(*account){
		"lawViolations":        func(a *account) { a.LawViolations = 1 },
		"lentShareOfOracle":    func(a *account) { a.LentShareOfOracle = 0.699 },
		"onlineWaitSecondsP99": func(a *account) { a.OnlineWaitSecondsP99 = 5.01 },
		"needlessEvictions":    func(a *account) { a.NeedlessEvictions = 1 },
		"ledgerCheck":          func(a *account) { a.LedgerCheck = "failed" },
		"no online pod":        func(a *account) { a.waits = 0 },
		"no decision":          func(a *account) { a.decisions.Decisions = 0 },
		"torn":                 func(a *account) { a.decisions.Torn = true },
		"not on record":        func(a *account) { a.decisions.Missing = 1 },
		"without a recorded":   func(a *account) { a.unrecorded = 1 },
		"too late":             func(a *account) { a.late = 11 },
		"demand was the limit": func(a *account) { a.demand.longest = settle + 1 },
	} {
		a := good()
		change(a)
		if missed := a.missed(); len(missed) != 1 || !strings.Contains(missed[0].Error(), want) {
			t.Errorf("missed %v, want %s alone", missed, want)
		}
	}
}

// A record that lacks what the auditor has seen does not pass.
func TestAnEmptyRecordIsAMissedTarget(t *testing.T) {
	path := filepath.Join(t.TempDir(), recordFile)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := &account{waits: 1, Result: Result{LentShareOfOracle: 1, LedgerCheck: ledgerOK}}
	if err := a.auditDecisions(path, []string{"vision/l1"}); err != nil {
		t.Fatal(err)
	}
	missed := errors.Join(a.missed()...)
	for _, want := range []string{"no decision is on record", "1 loans were asked back without"} {
		if missed == nil || !strings.Contains(missed.Error(), want) {
			t.Errorf("missed %v, want it to contain %q", missed, want)
		}
	}
}

func TestDemandIsTheLimitWhenTooLittleWaits(t *testing.T) {
	var d demand
	at := time.Unix(1000, 0)
	for _, look := range []struct{ waiting, lendable int64 }{
		{3, 0}, {90, 8}, {7, 8}, {5, 8}, {8, 8}, {6, 8},
	} {
		at = at.Add(time.Second)
		d.look(at, look.waiting, look.lendable)
	}
	if !d.seen || d.least != 5 || d.longest != time.Second {
		t.Errorf("%+v: want 5 units at the least, too few for 1s", d)
	}
}

func TestJobsAreTheTraces(t *testing.T) {
	f := &feed{config: Default(), jobs: []traces.Job{
		{GPUs: 1, Duration: time.Hour}, {GPUs: 8, Duration: 10 * time.Hour}, {GPUs: 64, Duration: time.Minute},
	}}
	for i, want := range []struct {
		pods     int32
		units    int64
		duration string
	}{{1, 1, "10s"}, {1, 8, "1m40s"}, {8, 64, "167ms"}} {
		j := f.job(i)
		if *j.Spec.Parallelism != want.pods || *j.Spec.Completions != want.pods || units(j) != want.units {
			t.Errorf("job %d: %d pods, %d units; want %+v", i, *j.Spec.Parallelism, units(j), want)
		}
		if got := j.Annotations["lab.ebbtide.dev/duration"]; got != want.duration {
			t.Errorf("job %d lasts %s, want %s", i, got, want.duration)
		}
		if grace := *j.Spec.Template.Spec.TerminationGracePeriodSeconds; grace < 1 || grace > 3 {
			t.Errorf("job %d: grace %d s, want 1 to 3", i, grace)
		}
	}
	if diff := cmp.Diff(f.job(1), f.job(1)); diff != "" {
		t.Errorf("the same job twice differs:\n%s", diff)
	}
}

func TestTheFeedCountsWhatWaits(t *testing.T) {
	f := &feed{config: Default(), jobs: []traces.Job{{GPUs: 16, Duration: time.Hour}}, waiting: map[types.UID]int64{}, seen: map[types.UID]bool{}}
	j := f.job(0)
	j.UID, j.Spec.Suspend = "a", ptr.To(true)
	f.observe(j)
	if c := f.counts(); c.Waiting != 1 || c.WaitingUnits != 16 {
		t.Errorf("%+v: want one job of 16 units waiting", c)
	}
	j.Spec.Suspend = ptr.To(false)
	f.observe(j)
	if c := f.counts(); c.Waiting != 0 || c.WaitingUnits != 0 {
		t.Errorf("%+v: want none waiting", c)
	}
	j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	f.observe(j)
	f.observe(j)
	if c := f.counts(); c.Finished != 1 || c.Failed != 0 {
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
	model := engine.DefaultModel(service)
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
