package view

import (
	"fmt"
	"strings"
	"time"
)

// What a cell shows when there is no value, and when the value is not known.
const (
	None    = "<none>"
	Unknown = "<unknown>"
)

// Column is the title of a table's column. Wide columns are shown on request.
type Column struct {
	Title string
	Wide  bool
}

// Table is rows of cells below columns; every row has a cell for every column.
type Table struct {
	Columns []Column
	Rows    [][]string
}

func columns(titles ...string) []Column {
	out := make([]Column, len(titles))
	for i, title := range titles {
		name, wide := strings.CutSuffix(title, "+")
		out[i] = Column{Title: name, Wide: wide}
	}
	return out
}

// cell keeps a value in one word, so that tools which split at spaces see the
// columns that people see.
func cell(s string) string {
	words := strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
	if len(words) == 0 {
		return None
	}
	return strings.Join(words, "_")
}

// some shows the first of the values and how many more there are; equal
// neighbours count once.
func some(values []string) string {
	distinct := unique(values)
	switch len(distinct) {
	case 0:
		return None
	case 1:
		return cell(distinct[0])
	}
	return fmt.Sprintf("%s,+%d", cell(distinct[0]), len(distinct)-1)
}

// all shows every value.
func all(values []string) string {
	distinct := unique(values)
	if len(distinct) == 0 {
		return None
	}
	return cell(strings.Join(distinct, ","))
}

// unique drops empty values and repetitions and keeps the order.
func unique(values []string) []string {
	var out []string
	seen := make(map[string]bool, len(values))
	for _, v := range values {
		if v != "" && !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

// Age shows how long ago since was, in the coarsest form that still says
// something: 41s, 12m, 3h20m, 2d4h, 90d. The zero time is unknown; a time in the
// future is 0s.
func Age(now, since time.Time) string {
	if since.IsZero() {
		return Unknown
	}
	return Span(now.Sub(since))
}

// Span shows a duration as Age does; a negative one is 0s.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 3*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return two(d, time.Hour, "h", time.Minute, "m")
	case d < 8*day:
		return two(d, day, "d", time.Hour, "h")
	default:
		return fmt.Sprintf("%dd", d/day)
	}
}

// two shows a duration in two units and leaves the second out when it is 0.
func two(d, big time.Duration, bigName string, small time.Duration, smallName string) string {
	text := fmt.Sprintf("%d%s", d/big, bigName)
	if rest := d % big / small; rest > 0 {
		text += fmt.Sprintf("%d%s", rest, smallName)
	}
	return text
}
