package chart

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// canvas is an SVG on its way.
type canvas struct {
	strings.Builder
	id string
}

// num writes a coordinate, to a tenth of a pixel.
func num(v float64) string {
	v = math.Round(v*10) / 10
	if v == 0 {
		v = 0 // not -0
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

func (c *canvas) add(format string, args ...any) { fmt.Fprintf(c, format, args...) }

// text at a place. anchor is start, middle or end.
func (c *canvas) text(x, y float64, anchor, class, text string) {
	if class != "" {
		class = ` class="` + class + `"`
	}
	if anchor != "start" {
		class += ` text-anchor="` + anchor + `"`
	}
	c.add(`<text x="%s" y="%s"%s>%s</text>`+"\n", num(x), num(y), class, escape(text))
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	c.add(`<path class="%s" d="M%s %sL%s %s"/>`+"\n", class, num(x1), num(y1), num(x2), num(y2))
}

// path through points, in pixels.
func path(points []Point) string {
	var b strings.Builder
	for i, p := range points {
		op := "L"
		if i == 0 {
			op = "M"
		}
		b.WriteString(op + num(p.X) + " " + num(p.Y))
	}
	return b.String()
}

// escape makes any text harmless in an SVG: what XML does not allow is left out.
func escape(text string) string {
	return html.EscapeString(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' || r == 0xfffe || r == 0xffff || r == '\uFFFD' {
			return -1
		}
		return r
	}, text))
}

// width of a text of size 12, about.
func width(text string) float64 { return 6.8 * float64(len([]rune(text))) }

// slug makes an id of a text.
func slug(text string) string {
	id := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, text)
	return "chart-" + strings.Trim(id, "-")
}
