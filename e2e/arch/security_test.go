package arch_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/arch"
)

// Every test that the pages about security and guarantees name exists, in a package of that
// name, and so does every target of make.
func TestSecurityPagesNameWhatThereIs(t *testing.T) {
	tests, err := arch.Tests("../..")
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	named, targets := regexp.MustCompile("`([-\\w]+\\.Test\\w+)`"), regexp.MustCompile("`make ([a-z-]+)")
	for page, atLeast := range map[string]int{"docs/security/threat-model.md": 35, "docs/reference/guarantees.md": 30, "SECURITY.md": 0} {
		text, err := os.ReadFile("../../" + page)
		if err != nil {
			t.Fatal(err)
		}
		found := named.FindAllSubmatch(text, -1)
		if len(found) < atLeast {
			t.Errorf("%s names %d tests, want at least %d", page, len(found), atLeast)
		}
		for _, m := range found {
			if !tests[string(m[1])] {
				t.Errorf("%s: there is no %s", page, m[1])
			}
		}
		for _, m := range targets.FindAllSubmatch(text, -1) {
			if !strings.Contains(string(makefile), "\n"+string(m[1])+":") {
				t.Errorf("%s: there is no make %s", page, m[1])
			}
		}
	}
}

// Each hole that peers have had has its row in the
// threat model, and the row a test.
func TestEveryHoleOfPeersHasATest(t *testing.T) {
	text, err := os.ReadFile("../../docs/security/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	_, peers, _ := strings.Cut(string(text), "## What peers have had")
	peers, _, _ = strings.Cut(peers, "\n## ")
	for _, published := range []string{
		"KAI CVE-2026-24177", "KAI CVE-2026-24176", "Volcano CVE-2026-44247", "Volcano CVE-2025-32777", "Volcano CVE-2024-36533",
		"HAMi #3030", "HAMi #3041", "CVE-2024-0132, -0133", "CVE-2025-23266, -23267", "CVE-2025-5187",
	} {
		row := ""
		for line := range strings.Lines(peers) {
			if strings.Contains(line, published) {
				row = line
			}
		}
		if !strings.Contains(row, ".Test") {
			t.Errorf("%s: no test is named", published)
		}
	}
}
