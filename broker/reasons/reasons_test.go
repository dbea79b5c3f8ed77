package reasons_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/reasons"
)

var update = flag.Bool("update", false, "write the page")

// TestPage: docs/reference/events.md is the table.
func TestPage(t *testing.T) {
	const path = "../../docs/reference/events.md"
	want := reasons.Page()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("the page is stale: run go test ./broker/reasons -update (-is +wanted):\n%s", diff)
	}
}

// source is all Go files of the programs but tests, by path.
func source(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, root := range []string{"broker", "scheduler-plugin", "mig"} {
		err := filepath.WalkDir("../../"+root, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() && (d.Name() == "sim" || d.Name() == "testdata" || d.Name() == "reasons" || d.Name() == "cli") {
				if err == nil {
					return filepath.SkipDir
				}
				return err
			}
			if filepath.Ext(path) == ".go" && !strings.HasSuffix(path, "_test.go") {
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				files[path] = string(text)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// said are the ways in which source says a reason.
var said = []*regexp.Regexp{
	regexp.MustCompile(`(?m)^(?:const)?\s*[Rr]eason\w+\s*= "(\w+)"`),
	regexp.MustCompile(`\bReason:\s*"([A-Z]\w+)"`),
	regexp.MustCompile(`\bReason(?:, \w+(?:\.\w+)*)? = "([A-Z]\w+)"`),
	regexp.MustCompile(`\b(?:\w+\.)?Reason, (?:\w+\.)?Message = "([A-Z]\w+)"`),
	regexp.MustCompile(`metav1\.Condition(?:True|False|Unknown), "([A-Z]\w+)"`),
	regexp.MustCompile(`return "([A-Z][a-z]+[A-Z]\w+)", "`),
}

// TestEveryReasonIsInTheTable: what the programs can say is on the page.
func TestEveryReasonIsInTheTable(t *testing.T) {
	found := map[string]bool{}
	for path, text := range source(t) {
		for _, way := range said {
			for _, m := range way.FindAllStringSubmatch(text, -1) {
				found[m[1]] = true
				if !reasons.Known(m[1]) {
					t.Errorf("%s says the reason %s, which is not in the table", path, m[1])
				}
			}
		}
	}
	if len(found) < 110 {
		t.Errorf("%d reasons were read, want at least 110", len(found))
	}
	for _, g := range reasons.Groups {
		for _, r := range g.Rows {
			if !found[r.Reason] && r.Reason != "PreemptionByScheduler" { // Kubernetes' own
				t.Errorf("the table has %s, which no program says", r.Reason)
			}
		}
	}
}

// TestGroups: a reason stands once in its group, and says when.
func TestGroups(t *testing.T) {
	camel := regexp.MustCompile(`^[A-Z][A-Za-z]+$`)
	for _, g := range reasons.Groups {
		var names []string
		for _, r := range g.Rows {
			if !camel.MatchString(r.Reason) || r.When == "" || slices.Contains(names, r.Reason) {
				t.Errorf("%s: %q is no reason, says nothing or stands twice", g.Title, r.Reason)
			}
			if r.Warning != reasons.Warns(r.Reason) {
				t.Errorf("%s: %s is a warning elsewhere, and not here", g.Title, r.Reason)
			}
			names = append(names, r.Reason)
		}
	}
}
