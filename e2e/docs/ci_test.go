package docs_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/docs"
)

// What the first page shows, and is not run with the pages, is run by what its mark says:
// by continuous integration itself, or by TestFirstLoan.
func TestFirstPageSkipsWhatIsRun(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("../../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := docs.Blocks(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		if !b.Runs() || b.Skip == "" || strings.Contains(b.Skip, docs.FirstLoan) {
			continue
		}
		for _, c := range b.Commands() {
			if !strings.Contains(b.Skip, ".ci/run") || !slices.Contains(strings.Split(string(script), "\n"), c.Text) {
				t.Errorf("README.md:%d: %q is not run (%s), and is no line of .ci/run", c.Line, c.Text, b.Skip)
			}
		}
	}
}
