package supply_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/supply"
)

// The bill of materials of a program, this test itself, has its modules, and is the same
// each time.
func TestSBOM(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &second} {
		if err := supply.SBOM(w, self); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two bills of one program differ")
	}
	var doc struct {
		Format      string `json:"bomFormat"`
		SpecVersion string `json:"specVersion"`
		Serial      string `json:"serialNumber"`
		Metadata    struct {
			Component struct {
				Hashes []struct{ Alg, Content string } `json:"hashes"`
			} `json:"component"`
		} `json:"metadata"`
		Components []struct{ Type, Name, Version, PURL string } `json:"components"`
	}
	if err := json.Unmarshal(first.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Format != "CycloneDX" || doc.SpecVersion != "1.6" || len(doc.Serial) != len("urn:uuid:")+36 || len(doc.Metadata.Component.Hashes) != 1 {
		t.Errorf("the document is %+v", doc)
	}
	if len(doc.Components) == 0 || doc.Components[0].Name != "std" || !strings.HasPrefix(doc.Components[0].PURL, "pkg:golang/std@1.") {
		t.Errorf("the standard library is not the first of %+v", doc.Components)
	}
	if err := supply.SBOM(&first, "supply_test.go"); err == nil {
		t.Error("a file that is no program has a bill of materials")
	}
}

// tree makes a module in git's sight, whose program says what it was given at its build.
func tree(t *testing.T, source string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/m\n\ngo 1.26\n", "cmd/p/main.go": source, ".gitignore": "ignored\n", "ignored": "x",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := exec.CommandContext(t.Context(), "git", "-C", root, "init", "-q").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return root
}

// A program is the same from both builds, and another one is another. The second build
// compiles what it needs of the standard library anew.
func TestReproduce(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the standard library")
	}
	program := []supply.Program{{Name: "p", Package: "./cmd/p"}}
	var sums []string
	for _, words := range []string{"one", "two"} {
		built, err := supply.Reproduce(t.Context(), tree(t, "package main\n\nfunc main() { println(\""+words+"\") }\n"), t.TempDir(), program)
		if err != nil {
			t.Fatal(err)
		}
		if len(built) != 1 || !built[0].Same() || len(built[0].First) != 64 {
			t.Errorf("the builds are %+v", built)
		}
		sums = append(sums, built[0].First)
	}
	if sums[0] == sums[1] {
		t.Error("programs that differ have the same digest")
	}
	for _, b := range []supply.Built{{}, {First: sums[0]}, {First: sums[0], Second: sums[1]}} {
		if b.Same() {
			t.Errorf("%+v count as the same", b)
		}
	}
	if _, err := supply.Reproduce(t.Context(), tree(t, "package main\n\nfunc main() { x }\n"), t.TempDir(), program); err == nil {
		t.Error("what does not compile was built")
	}
}

// What is copied is what git sees, and never over something.
func TestCopy(t *testing.T) {
	root, to := tree(t, "package main\n\nfunc main() {}\n"), filepath.Join(t.TempDir(), "to")
	if err := supply.Copy(t.Context(), root, to); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(to, "cmd/p/main.go")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(to, "ignored")); err == nil {
		t.Error("what git ignores was copied")
	}
	if err := supply.Copy(t.Context(), root, to); err == nil {
		t.Error("it was copied over a copy")
	}
}

// The images are built alike.
func TestDockerfileBuildsAlike(t *testing.T) {
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	joined := strings.ReplaceAll(string(text), "\\\n", "")
	for _, p := range supply.Programs() {
		cgo := "CGO_ENABLED=0"
		if p.Cgo {
			cgo = "CGO_ENABLED=1"
		}
		found := false
		for _, line := range strings.Split(joined, "\n") {
			if strings.HasSuffix(line, "-o /out/"+p.Name+" "+p.Package) {
				found = strings.Contains(line, cgo) && strings.Contains(line, "-trimpath -buildvcs=false") && strings.Contains(line, `-ldflags "-s -w`)
			}
		}
		if !found {
			t.Errorf("the Dockerfile builds %s otherwise", p.Name)
		}
	}
	if _, err := supply.Find("ebbtide"); err == nil {
		t.Error("a program that is none was found")
	}
}
