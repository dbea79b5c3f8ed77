package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"

	"github.com/ebbtide/ebbtide/broker/internal/cli/rehearse"
	"github.com/ebbtide/ebbtide/broker/view"
	"github.com/ebbtide/ebbtide/broker/view/chart"
)

//go:embed page.html
var source string

var page = template.Must(template.New("page").Parse(source))

// content is what the page is filled with.
type content struct {
	Answer, Played       string
	Results              view.Table
	Services, Tenants    view.Table
	Sections             []section
	Assumptions, Missing []string
}

// section is a heading with figures.
type section struct {
	Title, Text string
	Figures     []figure
}

// figure is a drawing with its numbers.
type figure struct {
	SVG   template.HTML
	Table view.Table
}

// Write writes the page.
func Write(w io.Writer, r *rehearse.Report) error {
	c := content{
		Answer: r.Answer, Played: r.Input.Describe(), Results: turned(r.Table()), Services: services(r), Tenants: tenants(r),
		Assumptions: r.Assumptions, Missing: r.Missing,
	}
	for _, s := range []struct {
		title, text string
		figures     []chart.Figure
	}{
		{"Load and loans", "Who held the GPUs, and how many the services' autoscalers wanted.", held(r)},
		{"Waiting", "How long jobs waited for their first start. Those that never started count with the time until the end.", []chart.Figure{waiting(r)}},
		{"Evictions and lost work", "Jobs that were taken back whole, and what that cost: work done again, and GPUs held without working.", []chart.Figure{evictions(r), lost(r)}},
	} {
		one := section{Title: s.title, Text: s.text}
		for _, f := range s.figures {
			// chart escapes all that it is given.
			one.Figures = append(one.Figures, figure{template.HTML(f.SVG()), f.Table()})
		}
		c.Sections = append(c.Sections, one)
	}
	if err := page.Execute(w, c); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

// turned has a row for each column, those that are wide too: there are more measures than
// policies, and a page is higher than wide.
func turned(t view.Table) view.Table {
	out := view.Table{Columns: []view.Column{{Title: t.Columns[0].Title}}}
	for _, row := range t.Rows {
		out.Columns = append(out.Columns, view.Column{Title: row[0]})
	}
	for i, column := range t.Columns[1:] {
		line := []string{column.Title}
		for _, row := range t.Rows {
			line = append(line, row[i+1])
		}
		out.Rows = append(out.Rows, line)
	}
	return out
}

func services(r *rehearse.Report) view.Table {
	t := view.Table{Columns: []view.Column{
		{Title: "service"}, {Title: "GPUs"}, {Title: "of a replica"}, {Title: "flavor"}, {Title: "load known"}, {Title: "highest load"},
	}}
	for _, o := range r.Results {
		t.Columns = append(t.Columns, view.Column{Title: "lent by " + o.Policy + ", GPU-hours"})
	}
	for i, s := range r.Input.Services {
		row := []string{
			s.Name, fmt.Sprint(s.Owned), fmt.Sprint(s.UnitsPerReplica), s.Flavor,
			fmt.Sprintf("%.1f%%", s.KnownShare*100), fmt.Sprintf("%.0f%% of its slots", s.PeakShare*100),
		}
		for _, o := range r.Results {
			row = append(row, fmt.Sprintf("%.1f", o.Services[i].Lent))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func tenants(r *rehearse.Report) view.Table {
	t := view.Table{Columns: []view.Column{{Title: "tenant"}, {Title: "jobs"}, {Title: "GPU-hours"}, {Title: "nominal quota"}}}
	for _, d := range r.Input.Tenants {
		t.Rows = append(t.Rows, []string{d.Tenant, fmt.Sprint(d.Jobs), fmt.Sprintf("%.1f", d.UnitHours), fmt.Sprint(d.Nominal)})
	}
	return t
}
