package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/broker/reasons"
)

// figure is a number of two digits or more as pages write it, with its unit if that is %.
var figure = regexp.MustCompile(`\d[\d,]*\.\d+( %)?|\d[\d,]*\d( %)?`)

// figures are those of a text, without what only leads somewhere.
func figures(text string) []string {
	return figure.FindAllString(regexp.MustCompile(`\]\([^)]*\)`).ReplaceAllString(text, "]"), -1)
}

// What other pages say that lending gains, and what was measured of promises, is what the
// pages say that are about it.
func TestFiguresAreTheResults(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, claim := range []struct {
		page, heading, results string
		// lines are the beginnings of the lines that count, the first of each; none: all,
		// and what the page itself has shown before.
		lines []string
		least int
	}{
		{"README.md", "## What it gains\n", "docs/results/README.md", []string{"In one week"}, 6},
		{"README.md", "## What it guarantees\n", "docs/reference/guarantees.md", nil, 10},
		{"docs/comparison.md", "## What others can imitate\n", "docs/results/main.md", []string{"| quota-cron |", "| ebbtide |"}, 4},
	} {
		before, section, found := strings.Cut(read(claim.page), claim.heading)
		if !found {
			t.Errorf("%s has no heading %q", claim.page, claim.heading)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		claimed, known := figures(section), []string(nil)
		if claim.lines == nil {
			known = figures(before + read(claim.results))
		}
		for _, beginning := range claim.lines {
			_, line, found := strings.Cut(read(claim.results), "\n"+beginning)
			if !found {
				t.Errorf("%s has no line %q", claim.results, beginning)
			}
			line, _, _ = strings.Cut(line, "\n")
			known = append(known, figures(line)...)
		}
		if len(claimed) < claim.least {
			t.Errorf("%s: %d figures were read, want at least %d: %q", claim.page, len(claimed), claim.least, claimed)
		}
		for _, f := range claimed {
			if !slices.Contains(known, f) {
				t.Errorf("%s: %s is not what %s says in the lines %q", claim.page, f, claim.results, claim.lines)
			}
		}
	}
}

// What people look for by the reason that they see is a reason that there is.
func TestTroubleshootingNamesReasons(t *testing.T) {
	text, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(string(text), -1) {
		for _, m := range regexp.MustCompile("`([A-Z][a-z]+[A-Z]\\w+)`").FindAllStringSubmatch(row[1], -1) {
			named++
			if !reasons.Known(m[1]) {
				t.Errorf("there is no reason %s", m[1])
			}
		}
	}
	if named < 18 {
		t.Errorf("%d reasons were read, want at least 18", named)
	}
}
