package view

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// LoanSpan is one loan on a timeline.
type LoanSpan struct {
	Name  string
	Label string // written into the bar, if there is room
	Units int64
	From  time.Time
	// ReclaimAt is when the units were asked back; zero if they were not.
	ReclaimAt time.Time
	// To is when the loan ended, and End the mark of how. Zero: it runs on.
	To  time.Time
	End byte
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
		line[end] = s.End
	}
	return line
}

// Series is a quantity over time.
type Series struct {
	Name string
	// Points in order of time. The value holds until the next point; NaN is
	// unknown and leaves a gap.
	Points []Point
	// Max is the top of the scale; not above 0: the highest value.
	Max float64
	// Fill draws bars down to 0 instead of a line.
	Fill bool
	// Lines are values drawn as dashed lines: water marks, capacities.
	Lines []float64
}

// Point is one value from a moment on.
type Point struct {
	Time  time.Time
	Value float64
}

// Chart draws series below each other over one time axis, each of the given
// height in lines. A column shows the mean of its time, weighted by duration.
func Chart(series []Series, axis Axis, height int) string {
	axis = axis.sane()
	height = max(height, 2)
	var b strings.Builder
	for _, s := range series {
		values := axis.means(s.Points)
		top := scale(s, values)
		for row := height - 1; row >= 0; row-- {
			text := ""
			switch row {
			case height - 1:
				text = fmt.Sprintf("%s %.4g", s.Name, top)
			case 0:
				text = "0"
			}
			label(&b, fmt.Sprintf("%*s", gutter, text))
			b.WriteString(strings.TrimRight(chartRow(s, values, top, row, height), " "))
			b.WriteByte('\n')
		}
	}
	b.WriteString(axis.ruler())
	return b.String()
}

func scale(s Series, values []float64) float64 {
	if s.Max > 0 {
		return s.Max
	}
	top := 0.0
	for _, v := range values {
		if v > top {
			top = v
		}
	}
	if top == 0 {
		return 1
	}
	return top
}

// level is the row, from 0 at the bottom, that a value is drawn in.
func level(v, top float64, height int) int {
	row := int(math.Ceil(v/top*float64(height))) - 1
	return min(max(row, 0), height-1)
}

func chartRow(s Series, values []float64, top float64, row, height int) string {
	line := []byte(strings.Repeat(" ", len(values)))
	for _, mark := range s.Lines {
		if level(mark, top, height) != row {
			continue
		}
		for i := 0; i < len(line); i += 2 {
			line[i] = '-'
		}
	}
	for i, v := range values {
		switch {
		case math.IsNaN(v):
			if row == 0 {
				line[i] = '?'
			}
		case s.Fill && v > 0 && row <= level(v, top, height):
			line[i] = '#'
		case !s.Fill && row == level(v, top, height):
			line[i] = '*'
		}
	}
	return string(line)
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

// means is the time-weighted mean of each column; NaN where nothing is known of
// any part of it.
func (a Axis) means(points []Point) []float64 {
	out := make([]float64, a.Width)
	next := 0
	for i := range out {
		from, to := a.edge(i), a.edge(i+1)
		for next < len(points) && !points[next].Time.After(from) {
			next++
		}
		// The first piece is the value that held when the column began.
		sum, known := 0.0, 0.0
		add := func(v float64, d time.Duration) {
			if !math.IsNaN(v) {
				sum += v * float64(d)
				known += float64(d)
			}
		}
		held := math.NaN()
		if next > 0 {
			held = points[next-1].Value
		}
		at := from
		for j := next; j < len(points) && points[j].Time.Before(to); j++ {
			add(held, points[j].Time.Sub(at))
			held, at = points[j].Value, points[j].Time
		}
		add(held, to.Sub(at))
		out[i] = math.NaN()
		if known > 0 {
			out[i] = sum / known
		}
	}
	return out
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
