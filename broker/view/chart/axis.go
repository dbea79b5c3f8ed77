package chart

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Scale is how an axis goes.
type Scale uint8

// Scales.
const (
	// Linear values, written as numbers.
	Linear Scale = iota
	// Log is by factors of ten.
	Log
	// Share is linear, from 0 to 1, written in percent.
	Share
	// Seconds is linear, written as durations; LogSeconds by factors, from a second on.
	Seconds
	LogSeconds
	// Time is seconds since Start, written in UTC.
	Time
)

// Axis of a figure.
type Axis struct {
	Label string
	Scale Scale
	// Start is the time at 0 on a Time axis.
	Start time.Time
	// Min and Max, if Max is above Min, are its ends; else they are those of the values, and
	// 0 on an axis of amounts.
	Min, Max float64
}

// tick is a value with its text.
type tick struct {
	at   float64
	text string
}

func (a *Axis) log() bool { return a.Scale == Log || a.Scale == LogSeconds }

// over is the axis with ends that have room for values from low to high.
func (a Axis) over(low, high float64, amounts bool) Axis {
	if a.Max > a.Min {
		if a.log() && a.Min <= 0 {
			a.Min = min(1, a.Max/10)
		}
		return a
	}
	if math.IsInf(low, 0) || math.IsInf(high, 0) {
		low, high = 0, 1
	}
	switch {
	case a.Scale == Share:
		low, high = min(low, 0), max(high, 1)
	case a.log():
		low = math.Pow(10, math.Floor(math.Log10(max(low, floorOf(a.Scale)))+1e-9))
		high = max(high, low*10)
	case amounts && low > 0:
		low = 0
	}
	if high <= low {
		high = low + 1
	}
	if amounts && !a.log() && a.Scale != Share {
		step := niceStep(high - low)
		low, high = math.Floor(low/step+1e-9)*step, math.Ceil(high/step-1e-9)*step
	}
	a.Min, a.Max = low, high
	return a
}

func floorOf(s Scale) float64 {
	if s == LogSeconds {
		return 1
	}
	return 1e-6
}

// share of the axis at which a value is; values beyond its ends are at them.
func (a *Axis) share(v float64) float64 {
	low, high := a.Min, a.Max
	if a.log() {
		v, low, high = math.Log(max(v, low)), math.Log(low), math.Log(high)
	}
	return min(max((v-low)/(high-low), 0), 1)
}

// ticks of the axis, about n.
func (a *Axis) ticks(n int) []tick {
	switch a.Scale {
	case Time:
		return a.times(n)
	case Log:
		return a.powers()
	case LogSeconds:
		return a.spans()
	}
	step := niceStepOf(a.Max-a.Min, n)
	if a.Scale == Seconds {
		step = niceSpan((a.Max - a.Min) / float64(n))
	}
	var all []tick
	for i := math.Ceil(a.Min/step - 1e-9); i*step <= a.Max+step*1e-9; i++ {
		v := i * step
		all = append(all, tick{v, a.text(v)})
	}
	return all
}

// text of a value.
func (a *Axis) text(v float64) string {
	switch a.Scale {
	case Share:
		return amount(v*100) + "%"
	case Seconds, LogSeconds:
		return span(v)
	}
	return amount(v)
}

// amount writes a number with about three digits.
func amount(v float64) string {
	if math.IsNaN(v) {
		return "unknown"
	}
	digits := 0
	if abs := math.Abs(v); abs > 0 && abs < 100 {
		digits = min(max(2-int(math.Floor(math.Log10(abs))), 0), 6)
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		return "0"
	}
	return thousands(text)
}

// thousands are set apart by a comma.
func thousands(text string) string {
	whole, rest, _ := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		rest = "." + rest
	}
	return sign + whole + rest
}

// span writes seconds as a duration.
func span(seconds float64) string {
	for _, u := range []struct {
		seconds float64
		name    string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}} {
		if math.Abs(seconds) >= u.seconds {
			return amount(math.Round(seconds/u.seconds*10)/10) + u.name
		}
	}
	return amount(seconds) + "s"
}

// niceStep is a round part of a length, a fifth or so; niceStepOf an nth or so.
func niceStep(length float64) float64 { return niceStepOf(length, 5) }

func niceStepOf(length float64, n int) float64 {
	raw := length / float64(max(n, 1))
	ten := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if raw <= m*ten*1.0001 {
			return m * ten
		}
	}
	return 10 * ten
}

// niceSpans are steps between durations and times, in seconds.
var niceSpans = []float64{
	1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 2 * 3600, 3 * 3600, 6 * 3600, 12 * 3600,
	86400, 2 * 86400, 7 * 86400, 14 * 86400, 28 * 86400,
}

func niceSpan(atLeast float64) float64 {
	if atLeast < niceSpans[0] {
		return niceStepOf(atLeast, 1)
	}
	for _, s := range niceSpans {
		if s >= atLeast {
			return s
		}
	}
	return math.Ceil(atLeast/(28*86400)) * 28 * 86400
}

// times are at round moments in UTC.
func (a *Axis) times(n int) []tick {
	step := max(niceSpan((a.Max-a.Min)/float64(n)), 1)
	layout := "15:04"
	switch {
	case step >= 86400:
		layout = "01-02"
	case a.Max-a.Min > 86400:
		layout = "01-02 15:04"
	case step < 60:
		layout = "15:04:05"
	}
	start := a.Start.UTC()
	day := start.Truncate(24 * time.Hour)
	offset := start.Sub(day).Seconds()
	var all []tick
	for i := math.Ceil((a.Min + offset) / step); i*step-offset <= a.Max; i++ {
		at := i * step
		all = append(all, tick{at - offset, day.Add(time.Duration(at) * time.Second).Format(layout)})
	}
	return all
}

func (a *Axis) powers() []tick {
	var all []tick
	for v := math.Pow(10, math.Ceil(math.Log10(a.Min)-1e-9)); v <= a.Max*1.0001; v *= 10 {
		all = append(all, tick{v, amount(v)})
	}
	return all
}

// spans are the durations that people know, on an axis by factors.
func (a *Axis) spans() []tick {
	var all []tick
	for _, v := range []float64{1, 10, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 28 * 86400, 365 * 86400} {
		if v >= a.Min*0.9999 && v <= a.Max*1.0001 {
			all = append(all, tick{v, span(v)})
		}
	}
	return all
}
