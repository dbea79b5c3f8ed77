package arch_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Every reason that a user can see is explained.
func TestReasonsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/concepts/lending.md")
	if err != nil {
		t.Fatal(err)
	}
	reason := regexp.MustCompile(`(?m)^(?:const)?\s*Reason\w+\s*= "(\w+)"`)
	for file, atLeast := range map[string]int{
		"broker/lend/plan.go": 30, "broker/internal/gather/targets.go": 5, "broker/internal/gather/waiting.go": 1,
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
