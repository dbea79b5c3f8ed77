package docs

import (
	"fmt"
	"regexp"
	"strings"
)

// anything is what stands for any text in what a page shows.
const anything = "…"

// varying is what may have another value each time: an age or a duration, or a number. What
// is a part of a word, as in h100 or v1, is not.
var varying = regexp.MustCompile(`(\d+(?:\.\d+)?(?:ms|[smhd]))+|\d+(?:\.\d+)*`)

// Compare says where printed is not what a page shows; empty: it is that.
func Compare(shown []string, printed string) string {
	got := trimmed(strings.Split(printed, "\n"))
	want := trimmed(shown)
	if at := differ(want, got); at < len(want) {
		return fmt.Sprintf("line %d of what is shown, %q, was not printed in its place; printed was:\n%s", at+1, want[at], strings.Join(got, "\n"))
	} else if at > len(want) {
		return fmt.Sprintf("more was printed than is shown:\n%s", strings.Join(got, "\n"))
	}
	return ""
}

// differ returns the first line of want that has no counterpart, len(want) if all have one
// and nothing is left, and more if something is.
func differ(want, got []string) int {
	for i, line := range want {
		if line == anything {
			return i + 1 + after(want[i+1:], got)
		}
		if len(got) == 0 || !pattern(line).MatchString(got[0]) {
			return i
		}
		got = got[1:]
	}
	if len(got) > 0 {
		return len(want) + 1
	}
	return len(want)
}

// after skips as many lines of got as it takes, and returns the best that differ can say.
func after(want, got []string) int {
	best := 0
	for i := range len(got) + 1 {
		at := differ(want, got[i:])
		if at == len(want) {
			return at
		}
		best = max(best, min(at, len(want)-1))
	}
	return best
}

func trimmed(lines []string) []string {
	var all []string
	for _, line := range lines {
		all = append(all, strings.Join(strings.Fields(line), " "))
	}
	for len(all) > 0 && all[len(all)-1] == "" {
		all = all[:len(all)-1]
	}
	return all
}

// pattern is a line as a page shows it.
func pattern(line string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("^")
	rest := 0
	for _, at := range varying.FindAllStringIndex(line, -1) {
		if partOfWord(line, at[0], at[1]) {
			continue
		}
		b.WriteString(literal(line[rest:at[0]]))
		b.WriteString(counterpart(line[at[0]:at[1]]))
		rest = at[1]
	}
	b.WriteString(literal(line[rest:]))
	b.WriteString("$")
	return regexp.MustCompile(b.String())
}

func literal(text string) string {
	return strings.ReplaceAll(regexp.QuoteMeta(text), anything, ".*")
}

// counterpart is what may be printed in the place of a number.
func counterpart(value string) string {
	switch {
	case strings.ContainsAny(value, "smhd"):
		return `(?:(?:\d+(?:\.\d+)?(?:ms|[smhd]))+|<invalid>)`
	case value == "0":
		return `0`
	case strings.Contains(value, "."):
		return `\d+(?:\.\d+)*`
	}
	return `(?:0*[1-9]\d*|00+)`
}

func partOfWord(line string, from, to int) bool {
	letter := func(c byte) bool {
		return c == '_' || c == '.' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
	}
	if from > 0 && letter(line[from-1]) {
		return true
	}
	return to < len(line) && line[to] != '.' && letter(line[to])
}
