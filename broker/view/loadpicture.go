package view

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// loadRows is the height of a load's picture.
const loadRows = 8

// LoadPicture draws a lender's load over a time axis, with its water marks. A time of which
// nothing is known has a ? at the bottom.
func LoadPicture(line *LoadLine, axis Axis) string {
	axis = axis.sane()
	values := columnsOf(line, axis)
	top := 1.0
	for _, v := range values {
		if !math.IsNaN(v) {
			top = max(top, math.Ceil(v*10)/10)
		}
	}
	row := func(share float64) int { return min(int(share/top*loadRows), loadRows-1) }
	var b strings.Builder
	for r := loadRows - 1; r >= 0; r-- {
		text, back := "", " "
		switch r {
		case row(line.HighWater):
			text, back = "high water "+Percent(line.HighWater), "-"
		case row(line.LowWater):
			text, back = "low water "+Percent(line.LowWater), "-"
		case loadRows - 1:
			text = line.Lender + " " + Percent(top)
		case 0:
			text = "0%"
		}
		label(&b, text)
		cells := make([]byte, axis.Width)
		for i := range cells {
			cells[i] = ' '
			if back == "-" && i%2 == 0 {
				cells[i] = '-'
			}
			switch v := values[i]; {
			case math.IsNaN(v) && r == 0:
				cells[i] = '?'
			case !math.IsNaN(v) && row(max(v, 0)) == r:
				cells[i] = '*'
			}
		}
		b.WriteString(strings.TrimRight(string(cells), " "))
		b.WriteByte('\n')
	}
	return b.String()
}

// columnsOf is the highest value in each column; no number where none is known.
func columnsOf(line *LoadLine, axis Axis) []float64 {
	values := make([]float64, axis.Width)
	for i := range values {
		values[i] = math.NaN()
	}
	step := time.Duration(line.StepSeconds * float64(time.Second))
	for i, v := range line.Utilization {
		at := line.From.Add(time.Duration(i) * step)
		if math.IsNaN(v) || at.Add(step).Before(axis.From) || at.After(axis.To) {
			continue
		}
		// A step that is longer than a column fills all of its columns.
		for c, last := axis.column(at), axis.column(at.Add(max(step-1, 0))); c <= last; c++ {
			if math.IsNaN(values[c]) || v > values[c] {
				values[c] = v
			}
		}
	}
	return values
}

// Summary is what was lent within an axis, and how it came back.
type Summary struct {
	UnitHours         float64
	Reclaims, Returns int
	Slowest           time.Duration
}

// Sum adds up the spans within an axis.
func Sum(spans []LoanSpan, axis Axis) (s Summary) {
	for i := range spans {
		span := &spans[i]
		end := axis.To
		if !span.To.IsZero() && span.To.Before(end) {
			end = span.To
		}
		at, units := span.From, span.Units
		for _, c := range append(slices.Clone(span.Changes), UnitsChange{At: end}) {
			from, to := later(at, axis.From), earlier(c.At, end)
			if to.After(from) && len(span.Lenders) > 0 {
				s.UnitHours += float64(units) * to.Sub(from).Hours()
			}
			at, units = c.At, c.Units
		}
		asked := span.ReclaimAt
		if asked.IsZero() || asked.Before(axis.From) || asked.After(axis.To) {
			continue
		}
		s.Reclaims++
		if !span.To.IsZero() {
			s.Returns++
			s.Slowest = max(s.Slowest, span.To.Sub(asked))
		}
	}
	return s
}

// String is the line under a picture.
func (s Summary) String() string {
	text := fmt.Sprintf("lent %.1f GPU-h, taken back %d", s.UnitHours, s.Reclaims)
	if s.Returns > 0 {
		text += fmt.Sprintf(", slowest return %s", Latency(s.Slowest))
	}
	return text
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Capacity is a line for each flavor: who has its units.
func Capacity(totals []UnitsRow, width int) string {
	var b strings.Builder
	for _, t := range totals {
		fmt.Fprintf(&b, "%-10s [", cell(t.Flavor))
		for _, part := range []struct {
			units  int64
			letter string
		}{{t.Services, "S"}, {t.Training, "T"}, {t.Other, "O"}, {t.Lent, "L"}, {t.Free, "."}, {t.Broken, "x"}} {
			if part.units > 0 && t.Capacity > 0 {
				b.WriteString(strings.Repeat(part.letter, int(max(part.units*int64(width)/t.Capacity, 1))))
			}
		}
		fmt.Fprintf(&b, "] %d: %d services, %d training, %d other, %d lent, %d free, %d broken\n",
			t.Capacity, t.Services, t.Training, t.Other, t.Lent, t.Free, t.Broken)
	}
	return b.String()
}
