package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	consoleBlock = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")
	sessionMarks = regexp.MustCompile(`(?m)^--- (stderr|exit \d+) ---\n`)
)

// The sessions in the reference are the golden ones, so it cannot go stale.
func TestReferenceShowsRealSessions(t *testing.T) {
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	real := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		real[strings.TrimRight(sessionMarks.ReplaceAllString(string(data), ""), "\n")] = true
	}
	page, err := os.ReadFile("../../../docs/reference/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, block := range consoleBlock.FindAllStringSubmatch(string(page), -1) {
		session := strings.TrimRight(block[1], "\n")
		command, _, _ := strings.Cut(session, "\n")
		if !real[session] {
			t.Errorf("no golden file has this session of docs/reference/cli.md:\n%s", session)
		}
		for _, word := range []string{"submit", "queue", "loans", "explain", "ledger"} {
			if strings.HasPrefix(command, "$ kubectl ebbtide "+word) {
				shown[word] = true
			}
		}
	}
	if len(shown) != 5 {
		t.Errorf("the reference shows sessions of %v only", shown)
	}
}
