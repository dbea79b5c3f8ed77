package controller

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/quota"
)

const head = "apiVersion: ebbtide.dev/v1alpha1\nkind: BrokerConfiguration\n"

func TestDefaults(t *testing.T) {
	c, err := ParseConfig([]byte(head))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(DefaultConfig(), c); diff != "" {
		t.Errorf("an empty file (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(lend.DefaultPolicy(), c.Lend()); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	d := DefaultConfig()
	if errs := d.Validate(); len(errs) > 0 {
		t.Errorf("the defaults are invalid: %v", errs)
	}
}

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig([]byte(head + `
interval: 5s
prometheus: {url: "http://prometheus.monitoring:9090"}
ledger: {maxBytes: 1000000}
signals: {youngReplica: 0s}
leaderElection: {enabled: false}
policy: {quorum: 0.5, minimumLoan: 0s, startWithin: 90s, stuckAfter: 20s, quarantineAfter: 6m, reserveAfter: 0s, quotaGrace: 30s}
fairSharing: {halfLife: 0s, preemption: []}
record: {path: /tmp/x, all: true}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.Interval = duration(5 * time.Second)
	want.Prometheus.URL = "http://prometheus.monitoring:9090"
	want.Ledger.MaxBytes = 1000000
	want.LeaderElection.Enabled = false
	want.Signals.YoungReplica = duration(0)
	want.Policy.Quorum, want.Policy.MinimumLoan, want.Policy.StartWithin = 0.5, duration(0), duration(90*time.Second)
	want.Policy.StuckAfter, want.Policy.QuarantineAfter = duration(20*time.Second), duration(6*time.Minute)
	want.Policy.ReserveAfter, want.Policy.QuotaGrace = duration(0), duration(30*time.Second)
	want.FairSharing = FairSharing{Preemption: []quota.FairRule{}}
	want.Record = RecordConfig{Path: "/tmp/x", All: true}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestInvalidConfig(t *testing.T) {
	for name, test := range map[string]struct{ yaml, want string }{
		"no kind":           {"interval: 5s\n", "apiVersion: Invalid value"},
		"other kind":        {"apiVersion: ebbtide.dev/v1alpha1\nkind: LendingPolicy\n", `kind: Invalid value: "LendingPolicy": must be BrokerConfiguration`},
		"unknown field":     {head + "intervall: 5s\n", `unknown field "intervall"`},
		"duplicate field":   {head + "interval: 5s\ninterval: 6s\n", "interval"},
		"not a duration":    {head + "interval: soon\n", "soon"},
		"zero interval":     {head + "interval: 0s\n", `interval: Invalid value: "0s": must be greater than 0s`},
		"long debounce":     {head + "debounce: 1m\n", "debounce: Invalid value"},
		"url":               {head + "prometheus: {url: prometheus}\n", "prometheus.url: Invalid value"},
		"young replica":     {head + "signals: {youngReplica: -1s}\n", `signals.youngReplica: Invalid value: "-1s": must not be negative`},
		"ledger":            {head + "ledger: {path: \"\"}\n", "ledger.path: Invalid value"},
		"ledger limit":      {head + "ledger: {maxBytes: -1}\n", "ledger.maxBytes: Invalid value: -1: must not be negative"},
		"address":           {head + "http: {bindAddress: \"0\"}\n", "http.bindAddress: Invalid value"},
		"lease":             {head + "leaderElection: {leaseDuration: 5s}\n", "leaderElection.leaseDuration: Invalid value"},
		"qps":               {head + "client: {qps: 0}\n", "client.qps: Invalid value"},
		"panic in stable":   {head + "signals: {panicWindow: 2m}\n", `signals.panicWindow: Invalid value: "2m0s": must not exceed stableWindow`},
		"scrape too often":  {head + "signals: {scrapeInterval: 10ms}\n", `signals.scrapeInterval: Invalid value: "10ms": must be at least 1s`},
		"always in panic":   {head + "policy: {panicThreshold: 1}\n", "policy.panicThreshold: Invalid value: 1: must be above 1, or 0 for never"},
		"hook of no kind":   {head + "hooks: {kinds: [{apiVersion: data.fluid.io/v1alpha1}]}\n", "hooks.kinds[0].kind: Required value: must be a kind"},
		"hook of no group":  {head + "hooks: {kinds: [{apiVersion: a/b/c, kind: X}]}\n", `hooks.kinds[0].apiVersion: Invalid value: "a/b/c"`},
		"hook of a loan":    {head + "hooks: {kinds: [{apiVersion: ebbtide.dev/v1alpha1, kind: Loan}]}\n", "hooks.kinds[0].apiVersion: Forbidden: objects of ebbtide.dev"},
		"hook twice":        {head + "hooks: {kinds: [{apiVersion: v1, kind: X}, {apiVersion: v1, kind: X}]}\n", "hooks.kinds[1]: Duplicate value"},
		"flap window":       {head + "policy: {flapWindow: 0s}\n", `policy.flapWindow: Invalid value: "0s": must be greater than 0s`},
		"quorum":            {head + "policy: {quorum: 1.5}\n", "policy.quorum: Invalid value: 1.5: must be above 0 and at most 1"},
		"stale at once":     {head + "policy: {staleAfter: 10s}\n", "policy.staleAfter: Invalid value"},
		"no eviction ever":  {head + "policy: {evictionBudget: 0}\n", "policy.evictionBudget: Invalid value"},
		"no quarantine":     {head + "policy: {quarantineAfter: 0s}\n", `policy.quarantineAfter: Invalid value: "0s": must be greater than 0s`},
		"negative stuck":    {head + "policy: {stuckAfter: -1s}\n", `policy.stuckAfter: Invalid value: "-1s": must not be negative`},
		"negative start":    {head + "policy: {startWithin: -1s}\n", `policy.startWithin: Invalid value: "-1s": must not be negative`},
		"negative loan":     {head + "policy: {minimumLoan: -1s}\n", "policy.minimumLoan: Invalid value"},
		"no reservation":    {head + "policy: {reserveAfter: -1s}\n", `policy.reserveAfter: Invalid value: "-1s": must not be negative`},
		"no quota grace":    {head + "policy: {quotaGrace: 0s}\n", `policy.quotaGrace: Invalid value: "0s": must be greater than 0s`},
		"half-life":         {head + "fairSharing: {halfLife: 5s}\n", `fairSharing.halfLife: Invalid value: "5s": must be at least 1m0s, or 0s`},
		"unknown fair rule": {head + "fairSharing: {preemption: [LessThanFinalShare]}\n", `fairSharing.preemption[0]: Unsupported value: "LessThanFinalShare": supported values: "LessThanOrEqualToFinalShare", "LessThanInitialShare"`},
		"fair rule twice":   {head + "fairSharing: {preemption: [LessThanInitialShare, LessThanInitialShare]}\n", `fairSharing.preemption[1]: Duplicate value: "LessThanInitialShare"`},
		"two at once, both": {head + "client: {qps: 0, burst: 0}\n", "client.burst: Invalid value"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseConfig([]byte(test.yaml))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestLoadConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "broker.yaml")
	if _, err := LoadConfig(path); err == nil {
		t.Error("a missing file is no error")
	}
	if err := os.WriteFile(path, []byte(head+"interval: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadConfig(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("the error does not name the file: %v", err)
	}
	if c, err := LoadConfig(""); err != nil || c.Interval != DefaultConfig().Interval {
		t.Errorf("no file: %v %v", c, err)
	}
}
