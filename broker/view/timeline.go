package view

import (
	"fmt"
	"strings"
	"time"
)

// LoanSpan is one loan on a timeline.
type LoanSpan struct {
	Name  string `json:"loan"`
	Label string `json:"-"` // written into the bar, if there is room
	// Job and Borrower have it, Lenders lent, on Nodes, units of Flavors; each named once.
	Job      string   `json:"job"`
	Borrower string   `json:"borrower"`
	Lenders  []string `json:"lenders"`
	Nodes    []string `json:"nodes"`
	Flavors  []string `json:"flavors"`
	// Units at the beginning, and Changes of them: an elastic job gives some back.
	Units   int64         `json:"units"`
	Changes []UnitsChange `json:"changes,omitempty"`
	From    time.Time     `json:"from"`
	// ReclaimAt is when the units were asked back; zero if they were not.
	ReclaimAt time.Time `json:"reclaimAt,omitzero"`
	// To is when the loan ended, Ended the ledger's name of how, and End the mark of it.
	// Zero: it runs on.
	To    time.Time `json:"to,omitzero"`
	Ended string    `json:"end,omitempty"`
	End   Mark      `json:"mark,omitempty"`
	// Reason and Message are why it was asked back, or else why it ended.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// UnitsChange is that a loan has so many units from a time on.
type UnitsChange struct {
	At    time.Time `json:"at"`
	Units int64     `json:"units"`
}

// Mark is a letter of Legend. As JSON it is a text of one letter.
type Mark byte

// MarshalText is the letter.
func (m Mark) MarshalText() ([]byte, error) { return []byte{byte(m)}, nil }

// UnmarshalText reads what MarshalText wrote.
func (m *Mark) UnmarshalText(text []byte) error {
	if len(text) != 1 {
		return fmt.Errorf("mark %q: is not one letter", text)
	}
	*m = Mark(text[0])
	return nil
}

// Axis is the time that a picture covers and its width in characters.
type Axis struct {
	From, To time.Time
	// Width of the picture without the labels at its left; at least 10.
	Width int
}

// gutter is the width of the labels left of every picture; longer ones are cut.
const gutter = 24

// Legend explains the marks of Timeline.
const Legend = "= lent  r asked back  . grace  x returned  ] ended  p preempted  ! lost  > open"

// Timeline draws one line per loan, in the order given, over a time axis, with
// the legend below. Loans outside the axis are left out.
func Timeline(spans []LoanSpan, axis Axis) string {
	axis = axis.sane()
	var b strings.Builder
	for _, s := range spans {
		if s.From.After(axis.To) || (!s.To.IsZero() && s.To.Before(axis.From)) {
			continue
		}
		label(&b, s.Name)
		b.WriteString(strings.TrimRight(string(bar(s, axis)), " "))
		b.WriteByte('\n')
	}
	b.WriteString(axis.ruler())
	b.WriteString(Legend + "\n")
	return b.String()
}

// bar is the line of one loan.
func bar(s LoanSpan, axis Axis) []byte {
	line := []byte(strings.Repeat(" ", axis.Width))
	start, end := axis.column(s.From), axis.Width-1
	if !s.To.IsZero() {
		end = axis.column(s.To)
	}
	for i := start; i <= end; i++ {
		line[i] = '='
	}
	if room := end - start - 6; len(s.Label) > 0 && len(s.Label) <= room {
		copy(line[start+2:], " "+s.Label+" ")
	}
	if !s.ReclaimAt.IsZero() {
		asked := axis.column(s.ReclaimAt)
		if asked == end && asked > start {
			asked-- // the end has a mark of its own
		}
		for i := asked; i <= end; i++ {
			line[i] = '.'
		}
		line[asked] = 'r'
	}
	if !s.From.Before(axis.From) && line[start] == '=' {
		line[start] = '['
	}
	// The end is written last: in a loan too short for the axis it is what matters.
	switch {
	case s.To.IsZero():
		line[end] = '>'
	case !s.To.After(axis.To):
		line[end] = byte(s.End)
	}
	return line
}

// sane is the axis with a width and a length that can be drawn.
func (a Axis) sane() Axis {
	a.Width = max(a.Width, 10)
	if !a.To.After(a.From) {
		a.To = a.From.Add(time.Second)
	}
	return a
}

// column of a moment; moments outside the axis are at its ends.
func (a Axis) column(t time.Time) int {
	share := float64(t.Sub(a.From)) / float64(a.To.Sub(a.From))
	return min(max(int(share*float64(a.Width)), 0), a.Width-1)
}

// edge is the moment at which a column begins.
func (a Axis) edge(column int) time.Time {
	return a.From.Add(time.Duration(float64(a.To.Sub(a.From)) / float64(a.Width) * float64(column)))
}

// ruler is the axis itself: a line with ticks and their times in UTC below.
func (a Axis) ruler() string {
	layout := "15:04:05"
	switch span := a.To.Sub(a.From); {
	case span > 48*time.Hour:
		layout = "01-02 15:04"
	case span > 10*time.Minute:
		layout = "15:04"
	}
	step := max(len(layout)+3, a.Width/6)
	line, times := []byte(strings.Repeat("-", a.Width)), ""
	for i := 0; i+len(layout) <= a.Width+len(layout)/2; i += step {
		line[i] = '+'
		times += fmt.Sprintf("%-*s", step, a.edge(i).UTC().Format(layout))
	}
	return fmt.Sprintf("%*s +%s\n%*s  %s UTC\n", gutter, "", line[1:], gutter, "", strings.TrimRight(times, " "))
}

// label writes the text left of a line, cut to the gutter, and the line's edge.
func label(b *strings.Builder, text string) {
	if len(text) > gutter {
		text = text[:gutter-2] + ".."
	}
	fmt.Fprintf(b, "%-*s |", gutter, text)
}
