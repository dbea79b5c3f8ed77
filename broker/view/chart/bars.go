package chart

import (
	"math"

	"github.com/ebbtide/ebbtide/broker/view"
)

// Bars are amounts by name, one bar below the other, each of one or more parts.
type Bars struct {
	Frame
	X Axis
	// Parts are the names of what each bar is made of, from the left.
	Parts []string
	Bars  []Bar
	// Marks are levels of X.
	Marks []Mark
}

// Bar is one of Bars. It has a value for each part; a bar with one that is not a number is
// not drawn.
type Bar struct {
	Name  string
	Parts []float64
	// Note is written behind the bar's sum in parentheses, a comparison for example.
	Note string
}

// Sum of the parts; not a number if one of them is none.
func (b *Bar) Sum() float64 {
	sum := 0.0
	for _, v := range b.Parts {
		sum += v
	}
	return sum
}

const barHeight, barGap = 18.0, 8.0

// SVG draws the bars, each with its sum behind it.
func (p *Bars) SVG() string {
	var keys []key
	if len(p.Parts) > 1 {
		for i, name := range p.Parts {
			keys = append(keys, key{name, i, true})
		}
	}
	names, behind, xs := 0.0, 0.0, newExtent()
	xs.add(0)
	for i := range p.Bars {
		names = max(names, width(p.Bars[i].Name))
		behind = max(behind, width(p.behind(&p.Bars[i])))
		xs.add(p.Bars[i].Sum())
	}
	for _, m := range p.Marks {
		xs.add(m.At)
	}
	x := p.X.over(xs.low, xs.high, true)
	head := 42.0
	if len(keys) > 0 {
		head = (&canvas{}).legend(keys, p.width(), 42) + 12
	}
	height := p.Height
	if height <= 0 {
		height = head + float64(len(p.Bars))*(barHeight+barGap) + 52
	}
	c := &canvas{}
	p.begin(c, height, max(len(p.Parts), 1), keys)
	b := box{min(names, p.width()/3) + 24, head, p.width() - behind - 24, height - 44}
	c.scale(b, &x)
	for i := range p.Bars {
		p.draw(c, b, &x, i)
	}
	for _, m := range p.Marks {
		w := b.left + x.share(m.At)*(b.right-b.left)
		c.add(`<path class="a" stroke-dasharray="1 4" d="M%s %sL%s %s"/>`+"\n", num(w), num(b.top-6), num(w), num(b.bottom))
		c.text(w+4, b.bottom-4, "start", "l", m.Name)
	}
	p.sums(c, b, &x) // over the marks
	return c.end()
}

// draw one bar.
func (p *Bars) draw(c *canvas, b box, x *Axis, i int) {
	bar := &p.Bars[i]
	top := b.row(i)
	c.text(b.left-8, top+barHeight-5, "end", "", bar.Name)
	if math.IsNaN(bar.Sum()) {
		return
	}
	from := 0.0
	for k, v := range bar.Parts {
		left, right := b.left+x.share(from)*(b.right-b.left), b.left+x.share(from+v)*(b.right-b.left)
		if right > left {
			c.area("M"+num(left)+" "+num(top)+"H"+num(right)+"V"+num(top+barHeight)+"H"+num(left)+"z", k)
		}
		from += v
	}
}

// sums writes what is behind each bar.
func (p *Bars) sums(c *canvas, b box, x *Axis) {
	for i := range p.Bars {
		bar, end := &p.Bars[i], 0.0
		if sum := bar.Sum(); !math.IsNaN(sum) {
			end = sum
		}
		c.text(b.left+x.share(end)*(b.right-b.left)+6, b.row(i)+barHeight-5, "start", "l", p.behind(bar))
	}
}

// row is how far down a bar begins.
func (b *box) row(i int) float64 { return b.top + float64(i)*(barHeight+barGap) }

func (p *Bars) behind(b *Bar) string {
	text := p.X.text(b.Sum())
	if math.IsNaN(b.Sum()) {
		text = "unknown"
	}
	if b.Note != "" {
		text += " (" + b.Note + ")"
	}
	return text
}

// scale draws the axis below bars.
func (c *canvas) scale(b box, x *Axis) {
	for _, t := range x.ticks(max(int((b.right-b.left)/110), 1)) {
		w := b.left + x.share(t.at)*(b.right-b.left)
		c.line(w, b.top-4, w, b.bottom, "r")
		c.text(w, b.bottom+16, "middle", "", t.text)
	}
	c.line(b.left, b.top-4, b.left, b.bottom, "a")
	c.text(b.right, b.bottom+34, "end", "", x.Label)
}

// Table has each bar's parts and, of more than one, their sum.
func (p *Bars) Table() view.Table {
	t := view.Table{Columns: []view.Column{{Title: p.X.Label}}}
	for _, name := range p.Parts {
		t.Columns = append(t.Columns, view.Column{Title: name})
	}
	if len(p.Parts) > 1 {
		t.Columns = append(t.Columns, view.Column{Title: "all"})
	}
	for i := range p.Bars {
		bar := &p.Bars[i]
		row := []string{bar.Name}
		for _, v := range bar.Parts {
			row = append(row, p.X.text(v))
		}
		if len(p.Parts) > 1 {
			row = append(row, p.X.text(bar.Sum()))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}
