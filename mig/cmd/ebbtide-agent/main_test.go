package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/mig/agent/doctor"
	"github.com/ebbtide/ebbtide/mig/agent/journal"
)

func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newCommand()
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(context.WithoutCancel(t.Context()))
	return out.String(), err
}

func TestRefusesBadFlags(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no node":     {nil, "--node: a name is needed"},
		"allocation":  {[]string{"--node=n", "--allocation=Magic"}, `--allocation: "Magic" is neither DevicePlugin nor DynamicResources`},
		"interval":    {[]string{"--node=n", "--interval=1ms"}, "--interval: 1ms is not from 100ms to 30s"},
		"check":       {[]string{"--node=n", "--accept-check=toolkit"}, `--accept-check: "toolkit" is none of the checks`},
		"doctor":      {[]string{"doctor", "--output=xml"}, `--output: "xml" is not json`},
		"an argument": {[]string{"doctor", "node"}, "unknown command"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NODE_NAME", "")
			if _, err := execute(t, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
		})
	}
}

// On a machine without GPUs doctor says so, and that nothing is lent.
func TestDoctorWithoutGPUs(t *testing.T) {
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	out, err := execute(t, "doctor", "--host-root="+t.TempDir(), "-o", "json")
	if err == nil || !strings.Contains(err.Error(), "nothing is lent on this node") {
		t.Errorf("the error is %v", err)
	}
	var checks []doctor.Check
	if err := json.Unmarshal([]byte(out), &checks); err != nil || len(checks) != len(doctor.Names()) {
		t.Errorf("%d checks (%v) in %s", len(checks), err, out)
	}
	table, _ := execute(t, "doctor", "--host-root="+t.TempDir())
	if !strings.HasPrefix(table, "CHECK") || !strings.Contains(table, "toolkit-version") {
		t.Errorf("printed %s", table)
	}
}

func TestAdoptAsksTheAgent(t *testing.T) {
	folder := t.TempDir()
	j, err := journal.Open(folder, "n")
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := execute(t, "adopt", "--state-dir="+folder); err != nil {
		t.Fatal(err)
	}
	if !j.AskedToAdopt() {
		t.Error("the agent was not asked")
	}
}
