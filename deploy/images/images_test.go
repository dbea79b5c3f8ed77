// Package images_test checks how images are built, where nothing can build one: that the
// Dockerfile has a target for each program, that what a target builds is in its context, and
// that build.sh asks the right tool for it.
package images_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/e2e/supply"
)

const root = "../.."

// stage is a part of a Dockerfile.
type stage struct {
	from         string
	instructions []string
}

// stages reads the Dockerfile, by the stages' names.
func stages(t *testing.T) map[string]stage {
	t.Helper()
	text, err := os.ReadFile(root + "/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	all, name := map[string]stage{}, ""
	from := regexp.MustCompile(`^FROM (?:--platform=\$BUILDPLATFORM )?(\S+) AS (\S+)$`)
	for _, line := range strings.Split(strings.ReplaceAll(string(text), "\\\n", ""), "\n") {
		line = strings.TrimSpace(line)
		if m := from.FindStringSubmatch(line); m != nil {
			name = m[2]
			all[name] = stage{from: m[1]}
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") || name == "" {
			continue
		}
		s := all[name]
		s.instructions = append(s.instructions, line)
		all[name] = s
	}
	return all
}

// last is the last value of an instruction, in a stage or in what it is made from.
func last(all map[string]stage, name, instruction string) string {
	s, known := all[name]
	if !known {
		return ""
	}
	for _, line := range slices.Backward(s.instructions) {
		if value, found := strings.CutPrefix(line, instruction+" "); found {
			return value
		}
	}
	return last(all, s.from, instruction)
}

// base is what a target is made from, outside of the Dockerfile.
func base(all map[string]stage, name string) string {
	for {
		s, known := all[name]
		if !known {
			return name
		}
		name = s.from
	}
}

// TestTargets: each program has a target, from a distroless image, that runs as a user who is
// not root but for the agent, and says what it is made of.
func TestTargets(t *testing.T) {
	all := stages(t)
	for _, p := range supply.Programs() {
		if _, found := all[p.Name]; !found {
			t.Errorf("there is no target %s", p.Name)
			continue
		}
		if image := base(all, p.Name); !strings.HasPrefix(image, "gcr.io/distroless/") {
			t.Errorf("%s is made from %s", p.Name, image)
		}
		want := "65532:65532"
		if p.Name == "ebbtide-agent" {
			want = "0:0" // it cuts GPUs
		}
		if user := last(all, p.Name, "USER"); user != want {
			t.Errorf("%s runs as %q, want %s", p.Name, user, want)
		}
		if entry := last(all, p.Name, "ENTRYPOINT"); entry != `["/`+p.Name+`"]` {
			t.Errorf("%s begins with %s", p.Name, entry)
		}
		copied := strings.Join(all[p.Name].instructions, "\n")
		for _, file := range []string{"/out/" + p.Name + " /" + p.Name, "/out/" + p.Name + ".cdx.json /sbom/"} {
			if !strings.Contains(copied, file) {
				t.Errorf("%s has no %s", p.Name, file)
			}
		}
	}
}

// TestMakefileBuildsAllTargets: make image builds every program's image, and no other.
func TestMakefileBuildsAllTargets(t *testing.T) {
	text, err := os.ReadFile(root + "/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^IMAGES := (.*)$`).FindSubmatch(text)
	if m == nil {
		t.Fatal("the Makefile names no images")
	}
	var want []string
	for _, p := range supply.Programs() {
		want = append(want, p.Name)
	}
	got := strings.Fields(string(m[1]))
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-programs +IMAGES):\n%s", diff)
	}
}

// TestContextHasAllSources: no package that a target compiles, and no file that is embedded
// in one, is kept out by .dockerignore.
func TestContextHasAllSources(t *testing.T) {
	ignored := ignore(t)
	if ignored("broker/lend/decide.go") || !ignored("docs/tasks/quickstart.md") || !ignored("broker/lend/decide_test.go") {
		t.Fatal(".dockerignore is not read as docker reads it")
	}
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	packages := []string{"./e2e/cmd/ebbtide-supply"}
	for _, p := range supply.Programs() {
		packages = append(packages, p.Package)
	}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps", "-json=Dir,Standard,GoFiles,CgoFiles,CFiles,HFiles,EmbedFiles"}, packages...)...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			Dir                                           string
			Standard                                      bool
			GoFiles, CgoFiles, CFiles, HFiles, EmbedFiles []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		folder, err := filepath.Rel(here, p.Dir)
		if p.Standard || err != nil || strings.HasPrefix(folder, "..") {
			continue
		}
		for _, file := range slices.Concat(p.GoFiles, p.CgoFiles, p.CFiles, p.HFiles, p.EmbedFiles) {
			seen++
			if path := filepath.ToSlash(filepath.Join(folder, file)); ignored(path) {
				t.Errorf("%s is compiled, and not in the context", path)
			}
		}
	}
	if seen < 300 {
		t.Errorf("%d files were seen, which cannot be all", seen)
	}
}

// ignore reads .dockerignore: the last line that matches says whether a file is left out.
func ignore(t *testing.T) func(path string) bool {
	t.Helper()
	text, err := os.ReadFile(root + "/.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	return func(path string) bool {
		out := false
		for _, line := range strings.Split(string(text), "\n") {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			pattern, back := strings.CutPrefix(line, "!")
			matches := pattern == "*" || path == pattern || strings.HasPrefix(path, pattern+"/")
			if suffix, anywhere := strings.CutPrefix(pattern, "**/*"); anywhere {
				matches = strings.HasSuffix(path, suffix)
			}
			if matches {
				out = !back
			}
		}
		return out
	}
}

// TestBuildScript: which tool is asked for what, and what is said where none can be.
func TestBuildScript(t *testing.T) {
	for _, test := range []struct {
		name string
		// tools that there are, by name, and the words to which they answer with an error.
		tools map[string]string
		env   []string
		want  string // what was run; of a failure, what was said
		fails bool
	}{
		{
			name: "docker", tools: map[string]string{"docker": "-", "buildah": "-"},
			want: "docker build --target one --build-arg VERSION=v1 -t example.com/x/one:v1 .\ndocker build --target two --build-arg VERSION=v1 -t example.com/x/two:v1 .\n",
		},
		{
			name: "docker without a daemon, and buildah", tools: map[string]string{"docker": "info", "buildah": "-"},
			want: "buildah build --target one --build-arg VERSION=v1 -t example.com/x/one:v1 .\nbuildah build --target two --build-arg VERSION=v1 -t example.com/x/two:v1 .\n",
		},
		{
			name: "docker pushes", tools: map[string]string{"docker": "-"}, env: []string{"PUSH=1", "PLATFORMS=linux/amd64,linux/arm64"},
			want: "docker buildx build --push --target one --build-arg VERSION=v1 --platform linux/amd64,linux/arm64 -t example.com/x/one:v1 .\n" +
				"docker buildx build --push --target two --build-arg VERSION=v1 --platform linux/amd64,linux/arm64 -t example.com/x/two:v1 .\n",
		},
		{
			name: "buildah pushes", tools: map[string]string{"docker": "buildx", "buildah": "-"}, env: []string{"PUSH=1", "PLATFORMS=linux/arm64"},
			want: "buildah build --target one --build-arg VERSION=v1 --platform linux/arm64 --manifest example.com/x/one:v1 .\nbuildah manifest push --all example.com/x/one:v1 docker://example.com/x/one:v1\n" +
				"buildah build --target two --build-arg VERSION=v1 --platform linux/arm64 --manifest example.com/x/two:v1 .\nbuildah manifest push --all example.com/x/two:v1 docker://example.com/x/two:v1\n",
		},
		{
			name: "nothing", fails: true,
			want: "make image needs one of docker podman buildah: docker is not installed; podman is not installed; buildah is not installed. Nothing was built.\n",
		},
		{
			name: "docker without a daemon", tools: map[string]string{"docker": "info"}, fails: true,
			want: "make image needs one of docker podman buildah: docker is installed, but its daemon does not answer; podman is not installed; buildah is not installed. Nothing was built.\n",
		},
		{
			name: "docker without buildx is to push", tools: map[string]string{"docker": "buildx"}, env: []string{"CONTAINER=docker", "PUSH=1"}, fails: true,
			want: "make image needs docker: docker is installed, but not its buildx, which PUSH=1 needs. Nothing was built.\n",
		},
		{name: "another", env: []string{"CONTAINER=nerdctl"}, fails: true, want: "make image: CONTAINER is nerdctl, must be docker, podman or buildah\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bin := t.TempDir()
			for tool, failing := range test.tools {
				script := "#!/bin/sh\n[ \"$1\" = '" + failing + "' ] && exit 1\ncase \"$1 $2\" in 'info '|'buildx version') exit 0;; esac\necho " + tool + " \"$@\" >>\"$RUN\"\n"
				if err := os.WriteFile(filepath.Join(bin, tool), []byte(script), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			bash, err := exec.LookPath("bash")
			if err != nil {
				t.Fatal(err)
			}
			run := filepath.Join(bin, "run")
			cmd := exec.CommandContext(t.Context(), bash, "build.sh", "example.com/x", "v1", "one", "two")
			cmd.Env = append([]string{"PATH=" + bin, "RUN=" + run}, test.env...)
			said := &strings.Builder{}
			cmd.Stderr = said
			err = cmd.Run()
			if failed := err != nil; failed != test.fails {
				t.Fatalf("it failed: %v (%v)\n%s", failed, err, said)
			}
			if test.fails {
				if code := cmd.ProcessState.ExitCode(); code != 1 {
					t.Errorf("exit code %d, want 1", code)
				}
				if diff := cmp.Diff(test.want, said.String()); diff != "" {
					t.Errorf("said (-want +got):\n%s", diff)
				}
				return
			}
			got, err := os.ReadFile(run)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("run (-want +got):\n%s", diff)
			}
		})
	}
}
