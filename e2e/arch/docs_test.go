package arch_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/arch"
)

// Every reason that a user can see is explained.
func TestReasonsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/concepts/lending.md")
	if err != nil {
		t.Fatal(err)
	}
	reason := regexp.MustCompile(`(?m)^(?:const)?\s*[Rr]eason\w+\s*= "(\w+)"`)
	for file, atLeast := range map[string]int{
		"broker/lend/plan.go": 30, "broker/internal/gather/targets.go": 5, "broker/internal/gather/outlook.go": 8, "broker/internal/gather/waiting.go": 2,
		"broker/internal/gather/setbacks.go": 1, "broker/internal/gather/tenants.go": 6,
	} {
		source, err := os.ReadFile("../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		found := reason.FindAllStringSubmatch(string(source), -1)
		if len(found) < atLeast {
			t.Errorf("%s: %d reasons were read, want at least %d", file, len(found), atLeast)
		}
		for _, m := range found {
			if !strings.Contains(string(page), "`"+m[1]+"`") {
				t.Errorf("%s: reason %s is not in docs/concepts/lending.md", file, m[1])
			}
		}
	}
}

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
