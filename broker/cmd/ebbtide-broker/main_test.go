package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

func run(stdin string, args ...string) (out, diff string, err error) {
	var stdout, stderr bytes.Buffer
	cmd := newCommand()
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	err = cmd.Execute()
	return stdout.String(), stderr.String(), err
}

func record(t *testing.T) lend.Record {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	r := lend.Record{
		Snapshot: lend.Snapshot{
			Now: now, Epoch: 1,
			Nodes:   []lend.Node{{Name: "gpu-0", Schedulable: true, Units: []lend.Units{{Flavor: "h100", Capacity: 8}}}},
			Tenants: []lend.Tenant{{Name: "research", Quotas: []lend.Quota{{Flavor: "h100", Nominal: 8}}}},
			Queues:  []lend.Queue{{Name: "research/default", Tenant: "research", Backfill: true}},
			Jobs: []lend.Job{{
				Name: "research/tune", UID: "tune", Tenant: "research", Queue: "research/default",
				Created: now.Add(-time.Hour), Flavor: "h100", Pods: 1, UnitsPerPod: 8,
			}},
		},
		Policy: lend.DefaultPolicy(),
	}
	r.Plan = r.Replay()
	if len(r.Plan.Actions) != 1 {
		t.Fatalf("the job is not admitted: %+v", r.Plan)
	}
	return r
}

func marshal(t *testing.T, r lend.Record) string {
	t.Helper()
	data, err := lend.MarshalRecord(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestReplay(t *testing.T) {
	same := marshal(t, record(t))
	path := filepath.Join(t.TempDir(), "record.json")
	if err := os.WriteFile(path, []byte(same), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{path, "-"} {
		out, diff, err := run(same, "replay", source)
		if err != nil || diff != "" || !strings.Contains(out, `"kind": "Lend"`) {
			t.Errorf("replay %s: %v\n%s%s", source, err, out, diff)
		}
	}
	other := record(t)
	other.Plan.Actions[0].Reason = "Whim"
	_, diff, err := run(marshal(t, other), "replay", "-")
	if err == nil || !strings.Contains(diff, "Whim") || !strings.Contains(diff, lend.ReasonWithinNominal) {
		t.Errorf("another plan: %v\n%s", err, diff)
	}
	for name, input := range map[string]string{"not JSON": "{", "unknown field": `{"snap": 1}`, "two records": same + same} {
		if _, _, err := run(input, "replay", "-"); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

func TestBadInput(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"config":     {[]string{"--config", "/nonexistent"}, "read configuration"},
		"kubeconfig": {[]string{"--kubeconfig", "/nonexistent"}, "/nonexistent"},
		"argument":   {[]string{"lend"}, "lend"},
		"flag":       {[]string{"--colour"}, "--colour"},
	} {
		if _, _, err := run("", test.args...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, test.want)
		}
	}
}
