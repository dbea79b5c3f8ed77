package arch_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/e2e/arch"
)

const root = "../.."

func pages(t *testing.T) []arch.Page {
	t.Helper()
	all, err := arch.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 60 {
		t.Fatalf("%d pages were read, want at least 60", len(all))
	}
	return all
}

func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		for _, broken := range page.Broken(root) {
			t.Error(broken)
		}
	}
}

// Every target and variable of make that a page names exists.
func TestMakeTargetsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, page := range pages(t) {
		for _, words := range page.Commands("make") {
			for _, unknown := range unknownToMake(string(makefile), words) {
				t.Errorf("%s: make %s: the Makefile has no %s", page.Path, strings.Join(words, " "), unknown)
			}
			named++
		}
	}
	if named < 50 {
		t.Errorf("%d commands were read, want at least 50", named)
	}
}

var (
	variable = regexp.MustCompile(`^([A-Z_]+)=`)
	target   = regexp.MustCompile(`^[a-z-]+$`)
)

func unknownToMake(makefile string, words []string) []string {
	var unknown []string
	for _, word := range words {
		word = strings.TrimRight(word, ".,:")
		if m := variable.FindStringSubmatch(word); m != nil {
			if !regexp.MustCompile(`\$[({]`+m[1]+`\b|(?m)^`+m[1]+` [?:]?=`).MatchString(makefile) && !regexp.MustCompile(`[( ]`+m[1]+`=`).MatchString(makefile) {
				unknown = append(unknown, "variable "+m[1])
			}
			continue
		}
		if !target.MatchString(word) {
			continue
		}
		if !regexp.MustCompile(`(?m)^` + word + `:`).MatchString(makefile) {
			unknown = append(unknown, "target "+word)
		}
	}
	return unknown
}

// What is wrong with a page is found.
func TestPagesAreRead(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "other.md"), []byte("# The `other` page: 1\n\n```\n# no heading\n```\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	page := arch.Page{Path: "page.md", Text: "# A page\n[good](other.md#the-other-page-1) [good](#a-page) [good](https://example.com/#x)\n" +
		"`[code](nowhere)`\n[bad](gone.md) [bad](other.md#no-heading) [bad](#b-page)\n"}
	want := []string{"page.md: gone.md: there is no gone.md", "page.md: other.md#no-heading: there is no heading #no-heading", "page.md: #b-page: there is no heading #b-page"}
	if diff := cmp.Diff(want, page.Broken(folder)); diff != "" {
		t.Errorf("broken links (-want +got):\n%s", diff)
	}

	page.Text = "Run `make demo CHECK=1`, `kubectl ebbtide loans -A`:\n\n```console\n$ kubectl ebbtide ledger list \\\n  -n a 2>&1 | grep x\nkubectl ebbtidex y\n```\n\n    kubectl ebbtide ledger check --against 1:abc   # a comment\n"
	got := page.Commands("kubectl", "ebbtide")
	if diff := cmp.Diff([][]string{{"loans", "-A"}, {"ledger", "list", "-n", "a"}, {"ledger", "check", "--against", "1:abc"}}, got); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	const makefile = "demo: build ## Replay (CHECK=1)\n\t@x $(if $(CHECK),--check)\nGO ?= go\n"
	if diff := cmp.Diff([]string{"target dmeo", "variable CHEK"}, unknownToMake(makefile, []string{"demo", "CHECK=1", "GO=x", "dmeo", "CHEK=1"})); diff != "" {
		t.Errorf("unknown to make (-want +got):\n%s", diff)
	}
}
