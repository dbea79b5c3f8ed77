package chart

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

var monday = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// day is a day of a service, in steps of half an hour, with a gap of two hours.
func day() *Plot {
	var online, own, lent, wanted Series
	online.Name, own.Name, lent.Name, wanted.Name = "online services", "own quota", "lent", "wanted by services"
	for i := range 48 {
		x := float64(i) * 1800
		load := 100 + 60*math.Cos(float64(i)/48*2*math.Pi)
		if i >= 20 && i < 24 {
			load = math.NaN()
		}
		online.Points = append(online.Points, Point{x, load})
		own.Points = append(own.Points, Point{x, 40})
		lent.Points = append(lent.Points, Point{x, max(150-load, 0)})
		wanted.Points = append(wanted.Points, Point{x, load + 4})
	}
	return &Plot{
		Frame: Frame{Title: "A day of lending", Description: "Services hold most at night; what they leave is lent."},
		X:     Axis{Label: "time, UTC", Scale: Time, Start: monday.Add(9 * time.Hour)}, Y: Axis{Label: "GPUs"},
		Areas: []Series{online, own, lent}, Lines: []Series{wanted}, Steps: true,
		Marks: []Mark{{"all", 240}},
	}
}

func waits() *CDF {
	exponential := func(mean float64) func(float64) float64 {
		return func(q float64) float64 { return min(-mean*math.Log(1-q), 1e6) }
	}
	return &CDF{
		Frame: Frame{Title: "How long jobs waited", Description: "Waits are shorter with lending."},
		X:     Axis{Label: "wait", Scale: LogSeconds},
		Curves: []Distribution{
			{"no lending", 1000, exponential(9000)}, {"ebbtide", 1000, exponential(1200)}, {"oracle", 1000, exponential(900)},
			{"nothing", 0, nil},
		},
	}
}

func lost() *Bars {
	return &Bars{
		Frame: Frame{Title: "Work lost to evictions", Description: "Random victims lose most."},
		X:     Axis{Label: "GPU-hours"}, Parts: []string{"done again", "restarting", "stopping"},
		Bars: []Bar{
			{Name: "ebbtide", Parts: []float64{12, 3, 1.5}, Note: "-80%"}, {Name: "random", Parts: []float64{70, 9, 4}},
			{Name: "no lending", Parts: []float64{0, 0, 0}}, {Name: "unknown", Parts: []float64{1, math.NaN(), 0}},
		},
		Marks: []Mark{{"aim", 20}},
	}
}

func figures() map[string]Figure {
	scale := &Plot{
		Frame: Frame{Title: "Time of one decision", Description: "It grows in proportion.", Width: 480},
		X:     Axis{Label: "GPUs", Scale: Log}, Y: Axis{Label: "milliseconds"},
		Lines: []Series{{"full", []Point{{1000, 3}, {10000, 31}, {30000, 94}}}, {"again", []Point{{1000, .4}, {10000, 3.1}, {30000, 9.9}}}},
	}
	evictions := &Bars{
		Frame: Frame{Title: "Evictions", Description: "One bar for each policy."}, X: Axis{Label: "evictions"},
		Parts: []string{"evictions"}, Bars: []Bar{{Name: "ebbtide", Parts: []float64{1240}}, {Name: "lyra", Parts: []float64{3100}}},
	}
	empty := &Plot{Frame: Frame{Title: "Nothing", Description: "Nothing is known."}, Lines: []Series{{Name: "nothing"}}}
	return map[string]Figure{"day": day(), "waits": waits(), "lost": lost(), "scale": scale, "evictions": evictions, "empty": empty}
}

func TestFiguresAreAsTheyWere(t *testing.T) {
	for name, figure := range figures() {
		t.Run(name, func(t *testing.T) {
			golden(t, name+".svg", figure.SVG())
			if again := figures()[name].SVG(); again != figure.SVG() {
				t.Error("the same figure again differs")
			}
			table := figure.Table()
			var b strings.Builder
			for _, c := range table.Columns {
				b.WriteString(c.Title + "\t")
			}
			for _, row := range table.Rows {
				if len(row) != len(table.Columns) {
					t.Errorf("row %q has not a cell for each of %d columns", row, len(table.Columns))
				}
				b.WriteString("\n" + strings.Join(row, "\t"))
			}
			golden(t, name+".txt", b.String()+"\n")
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got), -update writes it:\n%s", path, diff)
	}
}

// wellFormed returns the names of all elements and all texts.
func wellFormed(t interface{ Fatalf(string, ...any) }, svg string) (elements map[string]int, texts []string, ids map[string]int) {
	elements, ids = map[string]int{}, map[string]int{}
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return elements, texts, ids
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			elements[token.Name.Local]++
			for _, a := range token.Attr {
				if a.Name.Local == "id" {
					ids[a.Value]++
				}
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Fatalf("<%s %s=%q>", token.Name.Local, a.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			texts = append(texts, string(token))
		}
	}
}

// Whatever the names and values are, the picture is well-formed, has no other elements than
// its own, no attribute that is not a number, and the names as texts.
func TestAnyFigureIsHarmless(t *testing.T) {
	known := map[string]bool{
		"svg": true, "title": true, "desc": true, "style": true, "defs": true, "pattern": true, "rect": true, "path": true, "text": true,
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.Just(`"><script>alert(1)</script>`), rapid.Just("a&b\x00\ufffe'"))
		value := rapid.OneOf(rapid.Float64Range(-1e9, 1e9), rapid.SampledFrom([]float64{0, math.NaN(), 1e-9, 1e15}))
		series := func(label string) []Series {
			var all []Series
			for range rapid.IntRange(0, 12).Draw(t, label) {
				s := Series{Name: name.Draw(t, "name")}
				for i := range rapid.IntRange(0, 9).Draw(t, "points") {
					s.Points = append(s.Points, Point{float64(i) * 3600, value.Draw(t, "y")})
				}
				all = append(all, s)
			}
			return all
		}
		frame := Frame{ID: name.Draw(t, "id"), Title: name.Draw(t, "title"), Description: name.Draw(t, "description")}
		scale := Scale(rapid.IntRange(0, int(Time)).Draw(t, "scale"))
		plot := &Plot{
			Frame: frame, X: Axis{Label: name.Draw(t, "x"), Scale: scale, Start: monday}, Y: Axis{Scale: Scale(rapid.IntRange(0, int(LogSeconds)).Draw(t, "y"))},
			Areas: series("areas"), Lines: series("lines"), Steps: rapid.Bool().Draw(t, "steps"),
		}
		bars := &Bars{Frame: frame, Parts: []string{name.Draw(t, "part"), "b"}, Bars: []Bar{{name.Draw(t, "bar"), []float64{value.Draw(t, "v"), value.Draw(t, "w")}, ""}}}
		for _, figure := range []Figure{plot, bars} {
			elements, texts, _ := wellFormed(t, figure.SVG())
			for e := range elements {
				if !known[e] {
					t.Fatalf("has an element %s", e)
				}
			}
			if all := strings.Join(texts, "\n"); strings.Contains(frame.Title, "script") && !strings.Contains(all, frame.Title) {
				t.Fatalf("the title %q is not among the texts", frame.Title)
			}
		}
	})
}

// A figure stands alone: it names nothing outside itself, and what it names is there once.
func TestFiguresStandAlone(t *testing.T) {
	for name, figure := range figures() {
		svg := figure.SVG()
		rest := strings.ReplaceAll(svg, `xmlns="http://www.w3.org/2000/svg"`, "")
		for _, outside := range []string{"http:", "https:", "@import", "href", "<script", "<image", "<foreignObject"} {
			if strings.Contains(rest, outside) {
				t.Errorf("%s has %s", name, outside)
			}
		}
		_, _, ids := wellFormed(t, svg)
		for id, n := range ids {
			if n != 1 {
				t.Errorf("%s has %d elements %s", name, n, id)
			}
		}
		for _, part := range strings.Split(svg, "url(#")[1:] {
			id, _, _ := strings.Cut(part, ")")
			if ids[id] != 1 {
				t.Errorf("%s uses #%s, which it does not have", name, id)
			}
		}
	}
}
