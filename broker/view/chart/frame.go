package chart

import (
	"fmt"

	"github.com/ebbtide/ebbtide/broker/view"
)

// Figure is something that can be drawn.
type Figure interface {
	// SVG of the figure, one element.
	SVG() string
	// Table has the figure's numbers, as far as people read numbers.
	Table() view.Table
}

// Frame is what every figure has.
type Frame struct {
	// ID is of no other figure on the same page; empty: made of the title.
	ID string
	// Title is shown; Description is for those who cannot see the figure, and says what is
	// to be seen in it.
	Title, Description string
	// Width and Height in pixels; 0 is 960, and 320 or what the bars need.
	Width, Height float64
}

// Series is a line or an area.
type Series struct {
	Name   string
	Points []Point // by X
}

// Point of a series. A Y that is not a number is a gap.
type Point struct{ X, Y float64 }

// Mark is a value that others are compared with, a target for example.
type Mark struct {
	Name string
	At   float64
}

func (f *Frame) id() string {
	if f.ID != "" {
		return f.ID
	}
	return slug(f.Title)
}

func (f *Frame) width() float64 {
	if f.Width > 0 {
		return f.Width
	}
	return 960
}

// box is where values are drawn.
type box struct{ left, top, right, bottom float64 }

// begin writes what comes before the values, and returns how far it reaches down.
func (f *Frame) begin(c *canvas, height float64, hatched int, keys []key) float64 {
	w, id := f.width(), f.id()
	c.id = id
	c.add(`<svg xmlns="http://www.w3.org/2000/svg" class="ebbtide-chart" role="img" aria-labelledby="%s-t %s-d" width="%s" height="%s" viewBox="0 0 %s %s">`+"\n",
		escape(id), escape(id), num(w), num(height), num(w), num(height))
	c.add("<title id=\"%s-t\">%s</title>\n<desc id=\"%s-d\">%s</desc>\n", escape(id), escape(f.Title), escape(id), escape(f.Description))
	c.add("<style>%s</style>\n", style())
	c.hatch(hatched)
	c.add(`<rect class="g" width="%s" height="%s"/>`+"\n", num(w), num(height))
	c.text(12, 22, "start", "t", f.Title)
	return c.legend(keys, w, 42)
}

func (c *canvas) end() string {
	c.WriteString("</svg>\n")
	return c.String()
}

// hatch defines the fillings of areas and bars.
func (c *canvas) hatch(n int) {
	if n == 0 {
		return
	}
	c.WriteString("<defs>\n")
	for i := range n {
		k, h := i%len(colors), hatches[i%len(hatches)]
		c.add(`<pattern id="%s" width="8" height="8" patternUnits="userSpaceOnUse"><rect class="f%d" width="8" height="8" fill-opacity="%s"/>`,
			escape(c.hatchID(i)), k, opacity(h))
		if h != "" {
			c.add(`<path class="s%d" fill="none" stroke-width="1.4" d="%s"/>`, k, h)
		}
		c.WriteString("</pattern>\n")
	}
	c.WriteString("</defs>\n")
}

// opacity of what is behind a hatching; what has none is full.
func opacity(hatch string) string {
	if hatch == "" {
		return "0.8"
	}
	return "0.25"
}

func (c *canvas) hatchID(i int) string { return fmt.Sprintf("%s-h%d", c.id, i) }

// key is an entry of the legend. look is which colour, dash, mark and hatching.
type key struct {
	name string
	look int
	area bool
}

// legend writes the entries, line by line, and returns how far they reach down.
func (c *canvas) legend(keys []key, w, y float64) float64 {
	if len(keys) == 0 {
		return 30
	}
	x := 12.0
	for _, k := range keys {
		wide := 38 + width(k.name) + 14
		if x > 12 && x+wide > w-12 {
			x, y = 12, y+18
		}
		if k.area {
			c.area(fmt.Sprintf("M%s %sh26v11h-26z", num(x), num(y-9)), k.look)
		} else {
			c.stroke([]Point{{x, y - 4}, {x + 28, y - 4}}, k.look)
			c.mark(x+14, y-4, k.look)
		}
		c.text(x+34, y, "start", "", k.name)
		x += wide
	}
	return y + 8
}

// area fills a path.
func (c *canvas) area(d string, look int) {
	c.add(`<path class="s%d" stroke-width="1" fill="url(#%s)" d="%s"/>`+"\n", look%len(colors), escape(c.hatchID(look)), d)
}

// stroke draws a line through points.
func (c *canvas) stroke(points []Point, look int) {
	dash := dashes[look%len(dashes)]
	if dash != "" {
		dash = ` stroke-dasharray="` + dash + `"`
	}
	c.add(`<path class="s%d" fill="none" stroke-width="2" stroke-linejoin="round"%s d="%s"/>`+"\n", look%len(colors), dash, path(points))
}

// mark draws the mark of a line.
func (c *canvas) mark(x, y float64, look int) {
	c.add(`<path class="f%d" transform="translate(%s %s)" d="%s"/>`+"\n", look%len(colors), num(x), num(y), marks[look%len(marks)])
}
