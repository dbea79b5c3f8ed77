package signal

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// lookback is what a query of a policy's own reads of the past: the series of a
// selector, over a window that ended offset ago.
type lookback struct {
	selector       string
	window, offset time.Duration
	// optional: without any such series nothing can be said, and nothing is.
	optional bool
}

// lookbacks finds what a query looks back over, by its text: the ranges behind its
// selectors. A range behind anything else is a subquery, by which all others are longer;
// what it looks at at each instant is not sought out, and the scrapes as such, which `up`
// counts, stand for it. A rate that a rule recorded has no range here and is not found.
func lookbacks(query string) ([]lookback, error) {
	var found []lookback
	var sub time.Duration
	for s := (scan{text: query}); s.next(); {
		if s.bracket == "" {
			continue
		}
		window, err := readRange(s.bracket)
		if err != nil {
			return nil, err
		}
		offset := readOffset(query[s.at:])
		if s.selector == "" {
			sub += window + offset
		} else {
			found = append(found, lookback{selector: s.selector, window: window, offset: offset})
		}
	}
	if sub == 0 {
		return found, nil
	}
	longest := time.Duration(0)
	for i := range found {
		found[i].window += sub
		longest = max(longest, found[i].window+found[i].offset)
	}
	return append(found, lookback{selector: "up", window: cmp.Or(longest, sub), optional: true}), nil
}

// scan goes through PromQL as far as it takes to find its brackets.
type scan struct {
	text string
	at   int
	// bracket is what the last part that next found has between brackets, or empty;
	// selector is what is before them, or empty if that is no selector.
	bracket, selector string
	begin, end        int // of the selector that was read last
}

var (
	nothing    = regexp.MustCompile(`^(?:\s+|#[^\n]*)`)
	identifier = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*`)
	operators  = regexp.MustCompile(`^(?i:and|or|unless|atan2|bool|by|without|on|ignoring|group_left|group_right|offset)\b`)
	quoted     = regexp.MustCompile("^(?:\"(?:[^\"\\\\]|\\\\.)*\"|'(?:[^'\\\\]|\\\\.)*'|`[^`]*`)")
	braces     = regexp.MustCompile("^\\{(?:\"(?:[^\"\\\\]|\\\\.)*\"|'(?:[^'\\\\]|\\\\.)*'|`[^`]*`|[^}\"'`])*\\}")
	brackets   = regexp.MustCompile(`^\[([^\]]*)\]`)
	numbers    = regexp.MustCompile(`^[0-9][0-9a-zA-Z.]*`)
	offsets    = regexp.MustCompile(`^\s*(?:@\s*\S+\s+)?offset\s+([0-9a-z.]+)`)
)

// next reads one part of the text; false at its end.
func (s *scan) next() bool {
	rest := s.text[s.at:]
	if rest == "" {
		return false
	}
	begin := s.at
	s.bracket, s.selector = "", ""
	is := func(e *regexp.Regexp) bool {
		m := e.FindStringIndex(rest)
		if m != nil {
			s.at += m[1]
		}
		return m != nil
	}
	switch {
	case is(nothing):
	case is(operators):
		s.end = 0
	case is(identifier):
		s.begin, s.end = begin, s.at
	case is(braces):
		if s.end == 0 {
			s.begin = begin
		}
		s.end = s.at
	case is(brackets):
		s.bracket = strings.TrimSpace(s.text[begin+1 : s.at-1])
		if s.end > 0 {
			s.selector = strings.TrimSpace(s.text[s.begin:s.end])
		}
		s.end = 0
	case is(quoted), is(numbers):
		s.end = 0
	default:
		s.at, s.end = s.at+1, 0
	}
	return true
}

// readRange reads what is between brackets: a duration, or that and a subquery's step.
func readRange(text string) (time.Duration, error) {
	length, _, _ := strings.Cut(text, ":")
	if window, ok := readDuration(strings.TrimSpace(length)); ok && window > 0 {
		return window, nil
	}
	return 0, fmt.Errorf("the query has the range [%s], want a duration: how far it looks back cannot be told", text)
}

// readOffset reads by how much the window before the text ends earlier; one that ends
// later, or cannot be read, as if it ended now.
func readOffset(text string) time.Duration {
	if m := offsets.FindStringSubmatch(text); m != nil {
		offset, _ := readDuration(m[1])
		return offset
	}
	return 0
}

// readDuration reads a duration as PromQL has it, in which a bare number is of seconds.
func readDuration(text string) (time.Duration, bool) {
	if d, err := model.ParseDuration(text); err == nil {
		return time.Duration(d), true
	}
	seconds, err := strconv.ParseFloat(text, 64)
	return time.Duration(seconds * float64(time.Second)), err == nil && seconds >= 0 && seconds < 1e9
}

// usually is how far back is looked for how many samples a window has when nothing is
// wrong.
const usually = time.Hour

// whole is PromQL that has a result if a window is whole: it began with samples, and has
// as many as it usually has. One less may be its edge.
func (l lookback) whole() string {
	over := func(d time.Duration) string { return model.Duration(d.Round(time.Millisecond)).String() }
	offset := ""
	if l.offset > 0 {
		offset = " offset " + over(l.offset)
	}
	count := fmt.Sprintf("count_over_time(%s[%s]%s)", l.selector, over(l.window), offset)
	text := fmt.Sprintf("max(%s) + 1 >= 0.9 * max(max_over_time(%s[%s:%s])) and count(%s offset %s)",
		count, count, over(max(usually, 2*l.window)), over(l.window), l.selector, over(l.window+l.offset))
	if l.optional {
		text += fmt.Sprintf(" or absent(%s)", l.selector)
	}
	return text
}

// wholeness is the PromQL that has a result if all windows are whole; empty if there are
// none.
func wholeness(all []lookback) string {
	var parts []string
	for _, l := range all {
		parts = append(parts, "("+l.whole()+")")
	}
	return strings.Join(parts, " and ")
}

// longest is how far back is looked.
func longest(all []lookback) time.Duration {
	most := time.Duration(0)
	for _, l := range all {
		most = max(most, l.window+l.offset)
	}
	return most
}
