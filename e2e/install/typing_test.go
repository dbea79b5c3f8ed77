package install_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/install"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/witness/auditlog"
)

// prepare gives the installer his rights, as the page says, in a cluster without anything
// of Ebbtide. A lab brings namespaces and accounts for it.
func (s *site) prepare(t *testing.T) {
	t.Helper()
	s.stop(t) // what a test that failed has left
	s.clear(t)
	s.folder = t.TempDir()
	const who = "--user=NAME"
	commands := s.page.commands(t, "Who may install", "kubectl")
	if strings.Count(commands, who) != 3 {
		t.Fatalf("the page's commands bind not three roles to NAME:\n%s", commands)
	}
	s.types(t, s.administrator, strings.ReplaceAll(commands, who, "--user="+installer))
}

// clear takes away what prepare made, and what an install leaves behind.
func (s *site) clear(t *testing.T) {
	t.Helper()
	s.types(t, s.administrator, `kubectl delete --ignore-not-found namespace ebbtide-system ebbtide-agent
kubectl delete --ignore-not-found rolebinding ebbtide-installer-roles --namespace=kube-system
kubectl delete --ignore-not-found rolebinding ebbtide-installer-roles --namespace=kube-node-lease
kubectl delete --ignore-not-found clusterrolebinding ebbtide-installer
kubectl delete --ignore-not-found -k deploy/kustomize/installer
kubectl delete --ignore-not-found -k deploy/crds`)
	if s.stopped {
		s.stopped = false
		if err := s.Part(lab.KubeScheduler).Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// types has somebody type commands, all of which succeed.
func (s *site) types(t *testing.T, who *install.Person, commands string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := who.Type(ctx, commands)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// installs has the installer type what installs or upgrades, without a warning, and counts
// what the API server says of it.
func (s *site) installs(t *testing.T, commands string) install.Count {
	t.Helper()
	before := len(s.asked(t))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := s.installer.Type(ctx, commands)
	count, refused := install.Tally(s.asked(t)[before:])
	s.count.Add(count)
	for _, write := range refused {
		t.Errorf("not accepted: %s", write.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.ToLower(out), "warning") {
		t.Errorf("who types\n%s\nis warned:\n%s", commands, out)
	}
	return count
}

// asked are the installer's requests, all of them answered.
func (s *site) asked(t *testing.T) (writes []auditlog.Write) {
	t.Helper()
	s.eventually(t, func() (bool, string) {
		var err error
		if writes, err = s.audit.Writes(func(w *auditlog.Write) bool { return w.User == installer }); err != nil {
			t.Fatal(err)
		}
		for _, write := range writes {
			if write.Answered.IsZero() {
				return false, "not answered: " + write.String()
			}
		}
		return true, ""
	})
	if torn := s.audit.Torn(); torn > 0 {
		t.Fatalf("%d lines of the audit log cannot be read", torn)
	}
	return writes
}

// previous packages the charts as a release before this one: an older version with other
// defaults.
func (s *site) previous(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(s.installer.Root, "deploy/charts"))); err != nil {
		t.Fatal(err)
	}
	values := filepath.Join(folder, "ebbtide/values.yaml")
	text, err := os.ReadFile(values)
	if err != nil {
		t.Fatal(err)
	}
	const now, then = "restartCost: 1m\n", "restartCost: 2m\n"
	if strings.Count(string(text), now) != 1 {
		t.Fatalf("the chart's values do not have %q once", now)
	}
	if err := os.WriteFile(values, []byte(strings.Replace(string(text), now, then, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.types(t, s.installer, fmt.Sprintf("helm package --version 0.0.9 --app-version v0.0.9 --destination %[1]s %[1]s/ebbtide-crds %[1]s/ebbtide", folder))
	return folder
}
