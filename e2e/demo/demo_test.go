package demo

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/e2e/demo/stage"
	"github.com/ebbtide/ebbtide/e2e/traces"
)

func TestBadConfigurationsNameTheFlag(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	c := Default()
	c.Nodes = 3 // what else is bad is package stage's
	if err := c.Validate(); err == nil || err.Error() != "--nodes is 3, must be 4 to 1000" {
		t.Errorf("error %v, want it to name --nodes", err)
	}
}

// The keys of the last line are a promise to whoever reads it.
func TestTheLastLineIsTheResult(t *testing.T) {
	a := &account{Account: stage.Account{Config: Default().Config}}
	a.LedgerCheck = stage.LedgerOK
	var out bytes.Buffer
	a.Write(&out)
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

// What is the same in all demos is judged, and what is this one's.
func TestMissedTargets(t *testing.T) {
	good := func() *account {
		a := &account{demand: demand{longest: stage.Settle}}
		a.Decisions.Decisions = 7
		a.LentShareOfOracle, a.LedgerCheck = leastShare, stage.LedgerOK
		return a
	}
	if missed := good().Missed(); len(missed) != 0 {
		t.Errorf("all targets reached: %v", missed)
	}
	for want, change := range map[string]func(*account){
		"lentShareOfOracle is 0.699":         func(a *account) { a.LentShareOfOracle = 0.699 },
		"onlineWaitSecondsP99 is 5.01":       func(a *account) { a.MaxGraceSeconds, a.OnlineWaitSecondsP99 = 3, 5.01 },
		"for 5.001s, must be at most 5s: de": func(a *account) { a.demand.longest = stage.Settle + time.Millisecond },
	} {
		a := good()
		change(a)
		if missed := a.Missed(); len(missed) != 1 || !strings.Contains(missed[0].Error(), want) {
			t.Errorf("missed %v, want %s alone", missed, want)
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
	f := &feed{config: Default(), count: stage.NewJobs(), jobs: []traces.Job{
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
