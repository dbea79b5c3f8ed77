package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestEnsureBuildsOnlyWhatIsStale(t *testing.T) {
	root := t.TempDir()
	write(t, root, "go.mod", "module example.com/m\n\ngo 1.26\n")
	write(t, root, "cmd/main.go", "package main\n\nfunc main() {}\n")
	program := target{pkg: "./cmd", dir: ".", inputs: []string{"go.mod", "cmd", "not-there"}}
	out := filepath.Join(root, "bin", "program")
	builds := 0
	ensure := func(want int, why string) {
		t.Helper()
		before := builds
		logf := func(format string, _ ...any) {
			if format == "building %s" {
				builds++
			}
		}
		if err := program.ensure(t.Context(), root, out, logf); err != nil {
			t.Fatalf("%s: %v", why, err)
		}
		if got := builds - before; got != want {
			t.Errorf("%s: built %d times, want %d", why, got, want)
		}
	}
	ensure(1, "at first")
	ensure(0, "nothing changed")
	write(t, root, "cmd/main_test.go", "package main\n")
	ensure(0, "a test changed")
	write(t, root, "cmd/main.go", "package main\n\nfunc main() { println() }\n")
	ensure(1, "a source changed")
	write(t, root, "cmd/page.html", "<p>")
	ensure(1, "a file that may be embedded changed")
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
	ensure(1, "the binary is gone")
	program.tags = "other"
	ensure(1, "the flags changed")

	write(t, root, "cmd/main.go", "package main\n\nfunc main() { nothing() }\n")
	for range 2 { // a failed build is not taken for a done one
		if err := program.ensure(t.Context(), root, out, t.Logf); err == nil {
			t.Error("source that does not compile was built")
		}
	}
}

func TestLockIsExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := lock(short, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a held lock: %v, want that the wait ended", err)
	}
	unlock()
	unlock, err = lock(t.Context(), path)
	if err != nil {
		t.Fatalf("a released lock: %v", err)
	}
	unlock()
}

func TestProgramsRefusesUnknownNames(t *testing.T) {
	if _, err := Programs(t.Context(), t.Logf, "kubelet"); err == nil {
		t.Error("a program that is not known was built")
	}
}

// What kubectl and helm say of themselves is what they are made of.
func TestClientsVersions(t *testing.T) {
	text, err := os.ReadFile("../../clients/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for module, version := range map[string]string{
		"k8s.io/kubectl": strings.Replace(kubernetesVersion, "v1.", "v0.", 1), "helm.sh/helm/v4": helmVersion,
	} {
		if !strings.Contains(string(text), "\t"+module+" "+version) {
			t.Errorf("e2e/clients is not made with %s %s", module, version)
		}
	}
}

// The rules are tested by the promtool of the Prometheus that labs run.
func TestPromtoolVersion(t *testing.T) {
	version := regexp.MustCompile(`(?m)^\s*(?:require )?github.com/prometheus/prometheus (v\S+)`)
	found := map[string]bool{}
	for _, module := range []string{"promtool", "controlplane"} {
		text, err := os.ReadFile("../../" + module + "/go.mod")
		if err != nil {
			t.Fatal(err)
		}
		m := version.FindStringSubmatch(string(text))
		if m == nil {
			t.Fatalf("e2e/%s names no version of Prometheus", module)
		}
		found[m[1]] = true
	}
	if len(found) != 1 {
		t.Errorf("versions of Prometheus: %v, want one", found)
	}
}
