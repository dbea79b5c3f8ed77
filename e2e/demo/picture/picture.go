// Package picture draws a day of lending as plain ASCII: the load above, who
// holds the units below, on one time axis.
//
// Equal input gives equal text. No meaning is carried by colour, and no line is
// longer than Options.Columns and its margins.
package picture

import (
	"fmt"
	"strings"
	"time"
)

// Sample is the state at one moment.
type Sample struct {
	At time.Duration
	// Load is the share of the slots of all owned units in use.
	Load float64
	// Online units are held by the lender, Lent by bound training pods.
	Online, Lent int64
	// Reclaims is the number of loans asked back since the sample before.
	Reclaims int
}

// Options say what the picture is of.
type Options struct {
	Title    string
	From, To time.Duration
	// Clock is the time of day at 0.
	Clock time.Duration
	Units int64
	// LowWater and HighWater are shares of the load.
	LowWater, HighWater float64
	Columns             int
}

const (
	loadRows = 10
	unitRows = 10
	margin   = 9
)

// column is the mean of the samples that fall into it.
type column struct {
	n            int
	load         float64
	online, lent float64
	reclaims     int
}

// Draw returns the picture, each line ended by a newline.
func Draw(samples []Sample, o Options) string {
	columns := bin(samples, o)
	var b strings.Builder
	if o.Title != "" {
		fmt.Fprintf(&b, "%s\n\n", o.Title)
	}
	drawLoad(&b, columns, o)
	b.WriteByte('\n')
	drawUnits(&b, columns, o)
	drawAxis(&b, columns, o)
	return b.String()
}

func bin(samples []Sample, o Options) []column {
	columns := make([]column, o.Columns)
	for _, s := range samples {
		i := int(float64(s.At-o.From) / float64(o.To-o.From) * float64(o.Columns))
		if i < 0 || i >= o.Columns {
			continue
		}
		c := &columns[i]
		c.n++
		c.load += s.Load
		c.online += float64(s.Online)
		c.lent += float64(s.Lent)
		c.reclaims += s.Reclaims
	}
	for i := range columns {
		if n := float64(columns[i].n); n > 0 {
			columns[i].load /= n
			columns[i].online /= n
			columns[i].lent /= n
		}
	}
	return columns
}

// level is the row, from 0 at the bottom, of a share of a chart.
func level(share float64, rows int) int {
	return min(max(int(share*float64(rows)+0.5), 0), rows)
}

// drawLoad draws the load as a line, with the water marks behind it.
func drawLoad(b *strings.Builder, columns []column, o Options) {
	high, low := level(o.HighWater, loadRows), level(o.LowWater, loadRows)
	for row := loadRows; row >= 0; row-- {
		label := ""
		if row%5 == 0 {
			label = fmt.Sprintf("%d", row*100/loadRows)
		}
		if row == loadRows-1 {
			label = "load %"
		}
		line := make([]byte, len(columns))
		for i := range columns {
			line[i] = ' '
			if (row == high || row == low) && i%2 == 0 {
				line[i] = '-'
			}
			line[i] = stroke(columns, i, row, line[i])
		}
		text := fmt.Sprintf("%*s|%s", margin-1, label, line)
		switch row {
		case high:
			text += fmt.Sprintf(" high water %.0f%%", o.HighWater*100)
		case low:
			text += fmt.Sprintf(" low water %.0f%%", o.LowWater*100)
		}
		b.WriteString(strings.TrimRight(text, " "))
		b.WriteByte('\n')
	}
}

// stroke is what the line shows at one place: '*' where the value is, and '|' on
// the way from the column before.
func stroke(columns []column, i, row int, background byte) byte {
	if columns[i].n == 0 {
		return background
	}
	at := level(columns[i].load, loadRows)
	if row == at {
		return '*'
	}
	if i == 0 || columns[i-1].n == 0 {
		return background
	}
	before := level(columns[i-1].load, loadRows)
	if row > min(at, before) && row < max(at, before) {
		return '|'
	}
	return background
}

// drawUnits shows online units from the bottom and lent ones from the top; what
// is between them is not in use.
func drawUnits(b *strings.Builder, columns []column, o Options) {
	for row := unitRows; row >= 1; row-- {
		label := ""
		if row == unitRows || row == unitRows/2 {
			label = fmt.Sprintf("%d", o.Units*int64(row)/unitRows)
		}
		if row == unitRows-1 {
			label = "units"
		}
		line := make([]byte, len(columns))
		middle := (float64(row) - 0.5) / unitRows * float64(o.Units)
		for i, c := range columns {
			switch {
			case c.n == 0:
				line[i] = ' '
			case middle <= c.online:
				line[i] = ':'
			case middle > float64(o.Units)-c.lent:
				line[i] = '#'
			default:
				line[i] = ' '
			}
		}
		text := fmt.Sprintf("%*s|%s", margin-1, label, line)
		switch row {
		case unitRows:
			text += " # lent to training"
		case unitRows - 1:
			text += "   not in use"
		case unitRows - 2:
			text += " : online"
		}
		b.WriteString(strings.TrimRight(text, " "))
		b.WriteByte('\n')
	}
}

// drawAxis marks the reclaims and the time of day.
func drawAxis(b *strings.Builder, columns []column, o Options) {
	marks := make([]byte, len(columns))
	for i, c := range columns {
		switch {
		case c.reclaims == 0:
			marks[i] = ' '
		case c.reclaims < 10:
			marks[i] = byte('0' + c.reclaims)
		default:
			marks[i] = '+'
		}
	}
	if line := strings.TrimRight(string(marks), " "); line != "" {
		fmt.Fprintf(b, "%*s|%s\n", margin-1, "reclaims", line)
	}
	axis := []byte(strings.Repeat("-", len(columns)))
	labels := []byte(strings.Repeat(" ", len(columns)+5))
	every := time.Hour
	for (o.To-o.From)/every > time.Duration(len(columns)/8) {
		every *= 2
	}
	for at := (o.From + every - 1) / every * every; at <= o.To; at += every {
		i := int(float64(at-o.From) / float64(o.To-o.From) * float64(len(columns)))
		if i < len(axis) {
			axis[i] = '+'
		}
		clock := (o.Clock + at) % (24 * time.Hour)
		copy(labels[min(i, len(labels)-5):], fmt.Sprintf("%02d:%02d", int(clock.Hours()), int(clock.Minutes())%60))
	}
	fmt.Fprintf(b, "%*s+%s\n", margin-1, "", axis)
	fmt.Fprintf(b, "%*s%s\n", margin, "", strings.TrimRight(string(labels), " "))
}
