package docs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/docs"
)

// What the pages tell people to type works, and prints what they show.
func TestPages(t *testing.T) {
	result, err := docs.RunPages(t.Context(), told(t))
	check(t, result, err)
	if result.Run < 25 {
		t.Errorf("%d commands were run, want at least 25", result.Run)
	}
}

// The first page leads from a clone to a loan that is explained, with what it says to copy.
func TestFirstLoan(t *testing.T) {
	result, err := docs.RunFirstLoan(t.Context(), t.TempDir(), told(t))
	check(t, result, err)
	if result.Run < 4 || result.Skipped > 0 {
		t.Errorf("%d commands were run, and %d skipped: want 4 and none", result.Run, result.Skipped)
	}
}

// told takes what is typed and printed, which is long. A test that fails tells it behind
// what failed; one that is to be verbose, at once.
func told(t *testing.T) func(format string, args ...any) {
	if testing.Verbose() {
		return t.Logf
	}
	var lines []string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what was typed and printed:\n%s", strings.Join(lines, "\n"))
		}
	})
	return func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
}

func check(t *testing.T, result docs.Result, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, failure := range result.Failures {
		t.Error(failure)
	}
	t.Logf("%d commands run, %d failed, %d skipped", result.Run, result.Failed, result.Skipped)
}

// Every page that is run can be read, which takes no cluster to see.
func TestPagesCanBeRead(t *testing.T) {
	for _, page := range docs.Pages {
		text, err := os.ReadFile(filepath.Join("../..", page))
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := docs.Blocks(string(text))
		if err != nil || len(blocks) == 0 {
			t.Errorf("%s: %d blocks, %v", page, len(blocks), err)
		}
	}
}
