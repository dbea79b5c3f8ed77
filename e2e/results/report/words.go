package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/ebbtide/ebbtide/e2e/results/trial"
)

// words are what pages say numbers with.
func words() template.FuncMap {
	return template.FuncMap{
		"percent": percent, "n": number, "times": times, "time": span, "of": Of,
		"lower": strings.ToLower,
		"add":   func(a, b float64) float64 { return a + b },
		"sub":   func(a, b float64) float64 { return a - b },
		"div":   trial.Ratio,
		"f":     func(n int64) float64 { return float64(n) },
	}
}

// percent of a share, with as many digits as tell something.
func percent(x float64) string {
	switch p := 100 * x; {
	case p == 0:
		return "0 %"
	case math.Abs(p) < 0.095:
		return strconv.FormatFloat(p, 'f', 4, 64) + " %"
	case math.Abs(p) < 9.95:
		return strconv.FormatFloat(p, 'f', 2, 64) + " %"
	default:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	}
}

// number with commas between thousands; one that is not whole is told so from 100 on.
func number(v any) string {
	x, ok := v.(float64)
	if !ok {
		return commas(fmt.Sprint(v))
	}
	switch size := math.Abs(x); {
	case size == 0:
		return "0"
	case size >= 99.95:
		return commas(strconv.FormatFloat(x, 'f', 0, 64))
	case size >= 9.995:
		return strconv.FormatFloat(x, 'f', 1, 64)
	case size >= 0.0995:
		return strconv.FormatFloat(x, 'f', 2, 64)
	default:
		return strconv.FormatFloat(x, 'g', 2, 64)
	}
}

func commas(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// times is a ratio.
func times(x float64) string { return number(x) + "×" }

// span tells seconds as people do.
func span(seconds float64) string {
	switch d := time.Duration(seconds * float64(time.Second)); {
	case seconds == 0:
		return "0 s"
	case d < 10*time.Second:
		return strconv.FormatFloat(seconds, 'f', 1, 64) + " s"
	case d < 2*time.Minute:
		return strconv.FormatFloat(seconds, 'f', 0, 64) + " s"
	case d < 2*time.Hour:
		return strconv.FormatFloat(d.Minutes(), 'f', 0, 64) + " min"
	default:
		return strconv.FormatFloat(d.Hours(), 'f', 1, 64) + " h"
	}
}
