package arch_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/e2e/arch"
)

func TestTree(t *testing.T) {
	packages, err := arch.Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	// The check must have seen the tree it is about.
	for _, want := range []string{"broker/lend", "broker/api/v1alpha1", "e2e/arch"} {
		if !slices.ContainsFunc(packages, func(p arch.Package) bool { return p.Path == want }) {
			t.Errorf("package %s was not read", want)
		}
	}
	for _, violation := range append(arch.CheckImports(packages), arch.CheckPurity(packages)...) {
		t.Error(violation)
	}
}

// The Makefile tests without the race detector what has no goroutines, and only that.
func TestMakefileKnowsWhatIsPure(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(makefile)) {
		if list, ok := strings.CutPrefix(line, "PURE := "); ok {
			if diff := cmp.Diff(arch.Pure(), strings.Fields(list)); diff != "" {
				t.Errorf("PURE (-want +got):\n%s", diff)
			}
			return
		}
	}
	t.Error("the Makefile has no list PURE")
}

// A tree that breaks every rule once is found out, and a tree that comes close
// to breaking them is left alone.
func TestRulesBite(t *testing.T) {
	tests := []struct {
		name, file, source string
		want               string // "line: part of what and why"; empty: nothing is found
	}{
		{"core reads the clock", "broker/lend/x.go", "package lend\nimport \"time\"\nfunc f() any { return time.Now() }",
			"3: broker/lend calls time.Now: the time of a decision is an argument"},
		{"core reads the clock under another name", "broker/lend/x.go", "package lend\nimport wall \"time\"\nvar f = wall.Since",
			"3: broker/lend calls time.Since"},
		{"core computes with times", "broker/lend/x.go", "package lend\nimport \"time\"\nfunc f(t time.Time) any { return t.Add(time.Second) }", ""},
		{"core has a variable called time", "broker/lend/x.go", "package lend\ntype c struct{ Now func() int }\nfunc f(time c) int { return time.Now() }", ""},
		{"core starts a goroutine", "broker/lend/x.go", "package lend\nfunc f() { go f() }", "2: broker/lend starts a goroutine"},
		{"core uses a channel", "broker/sim/x.go", "package sim\nfunc f(c chan int) {}", "2: broker/sim uses a channel"},
		{"core writes a global", "quota/x.go", "package quota\nvar n int\nfunc f() { n++ }", "3: quota writes to the package's variable n"},
		{"core writes into a global", "quota/x.go", "package quota\nvar m = map[string]int{}\nfunc f() { m[\"a\"] = 1 }", "3: quota writes to the package's variable m"},
		{"core writes a local of the same name", "quota/x.go", "package quota\nvar n int\nfunc f() { n := 0; n++ ; _ = n }", ""},
		{"core reads a file", "broker/view/x.go", "package view\nimport _ \"os\"", "2: broker/view imports os: a pure package may not: it reads the machine"},
		{"core draws lots", "broker/sim/x.go", "package sim\nimport _ \"math/rand/v2\"", "2: broker/sim imports math/rand/v2"},
		{"core imports a library", "mig/x.go", "package mig\nimport _ \"k8s.io/api/core/v1\"", "2: mig imports k8s.io/api/core/v1: a pure package imports nothing but the standard library"},
		{"core imports upwards", "quota/x.go", "package quota\nimport _ \"github.com/ebbtide/ebbtide/broker/lend\"",
			"2: quota imports github.com/ebbtide/ebbtide/broker/lend: a pure package imports downwards only; here: nothing of this module"},
		{"core imports downwards", "broker/view/x.go", "package view\nimport (\n_ \"github.com/ebbtide/ebbtide/broker/lend\"\n_ \"sort\"\n)", ""},
		{"a shell reads the clock", "broker/ledger/x.go", "package ledger\nimport \"time\"\nvar f = time.Now", ""},
		{"below the root of mig all is allowed", "mig/agent/x.go", "package agent\nimport _ \"os\"", ""},

		{"broker imports Kubernetes itself", "broker/internal/web/x.go", "package web\nimport _ \"k8s.io/kubernetes/pkg/scheduler\"",
			"2: broker/internal/web imports k8s.io/kubernetes/pkg/scheduler: only scheduler-plugin/cmd"},
		{"the lab imports Kubernetes itself", "e2e/lab/x.go", "package lab\nimport _ \"k8s.io/kubernetes/cmd/kube-apiserver/app\"",
			"2: e2e/lab imports k8s.io/kubernetes/cmd/kube-apiserver/app: only scheduler-plugin/cmd"},
		{"the scheduler's main imports it", "scheduler-plugin/cmd/ebbtide-scheduler/main.go", "package main\nimport _ \"k8s.io/kubernetes/cmd/kube-scheduler/app\"", ""},
		{"the framework is another module", "scheduler-plugin/ebbtide/x.go", "package ebbtide\nimport _ \"k8s.io/kube-scheduler/framework\"", ""},
		{"the plugin imports the ledger", "scheduler-plugin/ebbtide/x.go", "package ebbtide\nimport _ \"github.com/ebbtide/ebbtide/broker/ledger\"",
			"2: scheduler-plugin/ebbtide imports github.com/ebbtide/ebbtide/broker/ledger: the scheduler enforces and never lends"},
		{"the plugin imports the API and the core", "scheduler-plugin/ebbtide/x.go",
			"package ebbtide\nimport (\n_ \"github.com/ebbtide/ebbtide/broker/api/v1alpha1\"\n_ \"github.com/ebbtide/ebbtide/broker/lend\"\n)", ""},
		{"the ledger talks to the API server", "broker/ledger/x.go", "package ledger\nimport _ \"k8s.io/client-go/rest\"",
			"2: broker/ledger imports k8s.io/client-go/rest: talking to the API server"},
		{"the broker imports its tests", "broker/cmd/ebbtide-broker/main.go", "package main\nimport _ \"github.com/ebbtide/ebbtide/e2e/lab\"",
			"2: broker/cmd/ebbtide-broker imports github.com/ebbtide/ebbtide/e2e/lab: the product does not depend on its tests"},
		{"the witness imports the ledger", "e2e/witness/x.go", "package witness\nimport _ \"github.com/ebbtide/ebbtide/broker/ledger\"",
			"2: e2e/witness imports github.com/ebbtide/ebbtide/broker/ledger: a witness that uses the code"},
		{"the witness imports the API", "e2e/witness/x.go", "package witness\nimport _ \"github.com/ebbtide/ebbtide/broker/api/v1alpha1\"", ""},
		{"the reader of the books uses the ledger's storage", "e2e/witness/books/x.go", "package books\nimport _ \"go.etcd.io/bbolt\"",
			"2: e2e/witness/books imports go.etcd.io/bbolt: the reader of the books"},
		{"a folder that only sounds alike", "brokerage/x.go", "package brokerage\nimport _ \"github.com/ebbtide/ebbtide/e2e/lab\"", ""},

		{"a test may do all of it", "broker/lend/x_test.go", "package lend\nimport \"time\"\nvar f = time.Now", ""},
		{"a nested module is not ours", "e2e/controlplane/x.go", "package x\nimport _ \"k8s.io/kubernetes/cmd/kube-apiserver/app\"", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			packages, err := arch.Load(fstest.MapFS{
				test.file:                 {Data: []byte(test.source)},
				"e2e/controlplane/go.mod": {Data: []byte("module nested\n")},
			})
			if err != nil {
				t.Fatal(err)
			}
			found := append(arch.CheckImports(packages), arch.CheckPurity(packages)...)
			if test.want == "" {
				if diff := cmp.Diff([]arch.Violation(nil), found); diff != "" {
					t.Errorf("a clean tree was found out (-want +got):\n%s", diff)
				}
				return
			}
			if len(found) != 1 || !strings.HasPrefix(found[0].String(), test.file+":"+test.want) {
				t.Errorf("got %v, want one that begins with %s:%s", found, test.file, test.want)
			}
		})
	}
}

func TestUnreadableTreeIsAnError(t *testing.T) {
	_, err := arch.Load(fstest.MapFS{"broker/lend/x.go": {Data: []byte("package lend\nfunc {")}})
	if err == nil || !strings.Contains(err.Error(), "parse broker/lend/x.go") {
		t.Errorf("got %v, want an error that names the file", err)
	}
}
