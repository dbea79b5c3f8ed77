package chart

import (
	"math"

	"github.com/ebbtide/ebbtide/broker/view"
)

// Plot is lines and stacked areas over one axis.
type Plot struct {
	Frame
	X, Y Axis
	// Areas are stacked, the first at the bottom. All have the same X.
	Areas []Series
	Lines []Series
	// Steps: a value holds until the next point, the last as long as the one before it.
	Steps bool
	// Marks are levels of Y.
	Marks []Mark
}

// SVG draws the plot.
func (p *Plot) SVG() string {
	var keys []key
	for i, s := range p.Areas {
		keys = append(keys, key{s.Name, i, true})
	}
	for i, s := range p.Lines {
		keys = append(keys, key{s.Name, p.look(i), false})
	}
	c, height := &canvas{}, p.Height
	if height <= 0 {
		height = 320
	}
	areas, lines := p.stacked(), p.stepped(p.Lines)
	x, y := p.axes(areas, lines)
	top := p.begin(c, height, len(p.Areas), keys)
	b := box{68, top + 24, p.width() - 20, height - 44}
	c.axes(b, &x, &y)
	for i := len(areas) - 1; i >= 0; i-- {
		for _, d := range areaPaths(areas[i].top, areas[i].base, at(b, &x, &y)) {
			c.area(d, i)
		}
	}
	for i, s := range lines {
		line := runs(s.Points, at(b, &x, &y))
		if len(areas) > 0 {
			c.apart(line)
		}
		c.curve(line, p.look(i), len(lines))
	}
	for _, m := range p.Marks {
		c.level(b, &y, m)
	}
	return c.end()
}

// look of the nth line, other than those of the areas.
func (p *Plot) look(line int) int { return len(p.Areas) + line }

// Table has the least, mean and highest value of each area and line.
func (p *Plot) Table() view.Table {
	t := view.Table{Columns: []view.Column{{Title: p.Y.Label}, {Title: "least"}, {Title: "mean"}, {Title: "highest"}}}
	for _, s := range append(append([]Series(nil), p.Areas...), p.Lines...) {
		low, high, sum, n := math.Inf(1), math.Inf(-1), 0.0, 0
		for _, q := range s.Points {
			if !math.IsNaN(q.Y) {
				low, high, sum, n = min(low, q.Y), max(high, q.Y), sum+q.Y, n+1
			}
		}
		row := []string{s.Name, view.Unknown, view.Unknown, view.Unknown}
		if n > 0 {
			row = []string{s.Name, p.Y.text(low), p.Y.text(sum / float64(n)), p.Y.text(high)}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// layer is an area between two lines.
type layer struct{ base, top []Point }

// stacked sums the areas up. Where one has a gap, those above it have one too: where they
// begin is not known.
func (p *Plot) stacked() []layer {
	var layers []layer
	series := p.stepped(p.Areas)
	for i, s := range series {
		l := layer{make([]Point, len(s.Points)), make([]Point, len(s.Points))}
		for k, q := range s.Points {
			base := 0.0
			for j := range i {
				if below := series[j].Points; k < len(below) {
					base += below[k].Y
				}
			}
			l.base[k], l.top[k] = Point{q.X, base}, Point{q.X, base + q.Y}
		}
		layers = append(layers, l)
	}
	return layers
}

// stepped are the series with a second point where each value ends, if they go in steps.
func (p *Plot) stepped(all []Series) []Series {
	if !p.Steps {
		return all
	}
	out := make([]Series, len(all))
	for i, s := range all {
		out[i].Name = s.Name
		for k, q := range s.Points {
			end := q.X
			switch {
			case k+1 < len(s.Points):
				end = s.Points[k+1].X
			case k > 0:
				end += q.X - s.Points[k-1].X
			}
			out[i].Points = append(out[i].Points, q, Point{end, q.Y})
		}
	}
	return out
}

// axes have room for all values.
func (p *Plot) axes(areas []layer, lines []Series) (x, y Axis) {
	xs, ys := newExtent(), newExtent()
	for _, l := range areas {
		for k := range l.top {
			xs.add(l.top[k].X)
			ys.add(l.base[k].Y)
			ys.add(l.top[k].Y)
		}
	}
	for _, s := range lines {
		for _, q := range s.Points {
			xs.add(q.X)
			ys.add(q.Y)
		}
	}
	for _, m := range p.Marks {
		ys.add(m.At)
	}
	return p.X.over(xs.low, xs.high, false), p.Y.over(ys.low, ys.high, true)
}

type extent struct{ low, high float64 }

func newExtent() extent { return extent{math.Inf(1), math.Inf(-1)} }

func (e *extent) add(v float64) {
	if !math.IsNaN(v) && !math.IsInf(v, 0) {
		e.low, e.high = min(e.low, v), max(e.high, v)
	}
}

// at puts values into a box.
func at(b box, x, y *Axis) func(Point) Point {
	return func(p Point) Point {
		return Point{b.left + x.share(p.X)*(b.right-b.left), b.bottom - y.share(p.Y)*(b.bottom-b.top)}
	}
}

// axes draws both axes with their ticks.
func (c *canvas) axes(b box, x, y *Axis) {
	for _, t := range y.ticks(5) {
		h := b.bottom - y.share(t.at)*(b.bottom-b.top)
		c.line(b.left, h, b.right, h, "r")
		c.text(b.left-8, h+4, "end", "", t.text)
	}
	for _, t := range x.ticks(int((b.right - b.left) / 90)) {
		w := b.left + x.share(t.at)*(b.right-b.left)
		c.line(w, b.bottom, w, b.bottom+5, "a")
		if most := b.right + 18; w+width(t.text)/2 > most {
			c.text(most, b.bottom+18, "end", "", t.text)
			continue
		}
		c.text(w, b.bottom+18, "middle", "", t.text)
	}
	c.line(b.left, b.bottom, b.right, b.bottom, "a")
	c.line(b.left, b.top, b.left, b.bottom, "a")
	c.text(b.right, b.bottom+34, "end", "", x.Label)
	c.text(8, b.top-10, "start", "", y.Label)
}

// level draws a mark across the box.
func (c *canvas) level(b box, y *Axis, m Mark) {
	h := b.bottom - y.share(m.At)*(b.bottom-b.top)
	c.add(`<path class="a" stroke-dasharray="1 4" d="M%s %sL%s %s"/>`+"\n", num(b.left), num(h), num(b.right), num(h))
	c.text(b.right-4, h-4, "end", "l", m.Name)
}

// areaPaths are closed paths, one for each run without a gap.
func areaPaths(top, base []Point, place func(Point) Point) []string {
	var all []string
	for from := 0; from < len(top); {
		end := from
		var outline []Point
		for ; end < len(top) && !math.IsNaN(top[end].Y); end++ {
			outline = append(outline, place(top[end]))
		}
		for k := end - 1; k >= from; k-- {
			outline = append(outline, place(base[k]))
		}
		if len(outline) > 2 {
			all = append(all, path(outline)+"z")
		}
		from = end + 1
	}
	return all
}

// marksOn is how many marks a line has.
const marksOn = 5

// runs are the parts of a line between its gaps.
func runs(points []Point, place func(Point) Point) (all [][]Point) {
	var run []Point
	for _, q := range points {
		if !math.IsNaN(q.Y) {
			run = append(run, place(q))
		} else if len(run) > 0 {
			all, run = append(all, run), nil
		}
	}
	if len(run) > 0 {
		all = append(all, run)
	}
	return all
}

// apart keeps a line apart from the areas below it.
func (c *canvas) apart(line [][]Point) {
	for _, run := range line {
		c.add(`<path class="o" d="%s"/>`+"\n", path(run))
	}
}

// curve draws a line and its marks, those of many lines at different places.
func (c *canvas) curve(line [][]Point, look, lines int) {
	var all []Point
	for _, run := range line {
		if len(run) > 1 {
			c.stroke(run, look)
		}
		all = append(all, run...)
	}
	if len(all) == 0 {
		return
	}
	left, right := all[0].X, all[len(all)-1].X
	for i := range marksOn {
		share := (float64(i) + (float64(look%max(lines, 1))+0.5)/float64(max(lines, 1))) / marksOn
		if q, ok := on(all, left+share*(right-left)); ok {
			c.mark(q.X, q.Y, look)
		}
	}
}

// on is the point of a line at an X, or the one before it.
func on(line []Point, x float64) (Point, bool) {
	for i := len(line) - 1; i >= 0; i-- {
		if line[i].X > x {
			continue
		}
		if i+1 == len(line) || line[i+1].X == line[i].X {
			return line[i], true
		}
		share := (x - line[i].X) / (line[i+1].X - line[i].X)
		return Point{x, line[i].Y + share*(line[i+1].Y-line[i].Y)}, true
	}
	return Point{}, false
}
