package arch_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/arch"
)

// Every test that the page of load sources names exists, in a package of that name.
func TestSourcesNameTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/sources.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := arch.Tests("../..")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(?:e2e/bench/)?(\\w+\\.Test\\w+)").FindAllStringSubmatch(string(page), -1)
	if len(named) < 60 {
		t.Errorf("the page names %d tests, want at least 60", len(named))
	}
	for _, m := range named {
		if !tests[m[1]] {
			t.Errorf("there is no %s", m[1])
		}
	}
	if rows := regexp.MustCompile(`(?m)^\| \d+ \|`).FindAll(page, -1); len(rows) != 43 {
		t.Errorf("the page answers %d mechanisms, want 43", len(rows))
	}
}
