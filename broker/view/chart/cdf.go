package chart

import (
	"fmt"

	"github.com/ebbtide/ebbtide/broker/view"
)

// CDF shows which share of something had come after how long.
type CDF struct {
	Frame
	// X is about durations in seconds, or about amounts.
	X      Axis
	Curves []Distribution
}

// Distribution is one curve. Quantile is the least value that a share q does not exceed.
type Distribution struct {
	Name     string
	Count    int64
	Quantile func(q float64) float64
}

// cdfSteps are at which shares a curve is drawn: each half percent, and the tail closer.
func cdfSteps() []float64 {
	var all []float64
	for i := 1; i < 196; i++ {
		all = append(all, float64(i)/200)
	}
	for i := 980; i <= 1000; i++ {
		all = append(all, float64(i)/1000)
	}
	return all
}

// SVG draws the curves. What there is none of has no curve.
func (d *CDF) SVG() string {
	p := Plot{Frame: d.Frame, X: d.X, Y: Axis{Label: "share", Scale: Share}}
	for _, curve := range d.Curves {
		s := Series{Name: curve.Name}
		if curve.Count == 0 {
			s.Name += " (none)"
		} else {
			for _, q := range cdfSteps() {
				s.Points = append(s.Points, Point{curve.Quantile(q), q})
			}
		}
		p.Lines = append(p.Lines, s)
	}
	return p.SVG()
}

// Table has some quantiles of each curve.
func (d *CDF) Table() view.Table {
	shares := []float64{0.5, 0.9, 0.95, 0.99, 1}
	t := view.Table{Columns: []view.Column{{Title: d.X.Label}, {Title: "count"}}}
	for _, q := range shares[:len(shares)-1] {
		t.Columns = append(t.Columns, view.Column{Title: fmt.Sprintf("p%g", q*100)})
	}
	t.Columns = append(t.Columns, view.Column{Title: "longest"})
	for _, curve := range d.Curves {
		row := []string{curve.Name, amount(float64(curve.Count))}
		for _, q := range shares {
			if curve.Count == 0 {
				row = append(row, view.None)
				continue
			}
			row = append(row, d.X.text(curve.Quantile(q)))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}
