package build

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A program that is built with an overlay stands still at the failpoint that is asked for,
// has what was edited, and the tree is as it was.
func TestOverlay(t *testing.T) {
	root := t.TempDir()
	const source = "package main\n\nimport \"fmt\"\n\nfunc main() {\n\tfmt.Println(\"one\")\n\t// gofail: var afterOne struct{}\n\tfmt.Println(\"two\")\n}\n"
	write(t, root, "broker/main.go", source)
	write(t, root, "broker/other.go", "package main\n\nfunc init() { println(\"guard\") }\n")
	write(t, root, "broker/main_test.go", "package main\n\n// gofail: var inATest struct{}\n")

	overlay, err := Overlay(root, filepath.Join(root, "out"), Edit{"broker/other.go", `println("guard")`, `println("no guard")`})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(overlay)
	if err != nil {
		t.Fatal(err)
	}
	var o overlayFile
	if err := json.Unmarshal(text, &o); err != nil || len(o.Replace) != 3 {
		t.Fatalf("the overlay has %d files (%v), want the two that are changed and the one that binds the points: %s", len(o.Replace), err, text)
	}
	bound, err := os.ReadFile(o.Replace[filepath.Join(root, "broker", bindings)])
	if err != nil || !strings.Contains(string(bound), `NewFailpoint("afterOne")`) || strings.Contains(string(bound), "inATest") {
		t.Errorf("the points are bound by %q (%v)", bound, err)
	}
	edited, err := os.ReadFile(o.Replace[filepath.Join(root, "broker/other.go")])
	if err != nil || !strings.Contains(string(edited), "no guard") {
		t.Errorf("the edited file is %q (%v)", edited, err)
	}
	if kept, err := os.ReadFile(filepath.Join(root, "broker/main.go")); err != nil || string(kept) != source {
		t.Errorf("the source was changed to %q (%v)", kept, err)
	}
	if names, err := Failpoints(root); err != nil || len(names) != 1 || names[0] != "afterOne" {
		t.Errorf("the failpoints are %v (%v)", names, err)
	}
}

// What an edit is about must be there once: else a guard that has moved would be taken for
// one that was taken out.
func TestOverlayOfWhatIsNotThere(t *testing.T) {
	root := t.TempDir()
	write(t, root, "broker/main.go", "package main\n\nfunc main() { twice(); twice() }\n")
	for old, want := range map[string]string{"gone()": "0 times", "twice()": "2 times"} {
		_, err := Overlay(root, t.TempDir(), Edit{"broker/main.go", old, ""})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("edit of %s: %v, want that it is there %s", old, err, want)
		}
	}
}

// The repository's failpoints compile, and have names of their own.
func TestFailpointsCompile(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	names, err := Failpoints(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 30 {
		t.Errorf("only %d failpoints are there: %v", len(names), names)
	}
	for i := 1; i < len(names); i++ {
		if names[i] == names[i-1] {
			t.Errorf("two failpoints are called %s", names[i])
		}
	}
	overlay, err := Overlay(root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "./broker/internal/actuate", "./scheduler-plugin/ebbtide")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
