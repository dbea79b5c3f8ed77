package report

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/results/trial"
)

func TestCompareFindsWhatDiffers(t *testing.T) {
	f := Files{"README.md": []byte("one\ntwo\n"), "a.svg": []byte("<svg/>\n"), "results.json": []byte("{}\n")}
	for name, tc := range map[string]struct {
		change func(t *testing.T, dir string)
		want   string // empty: nothing differs
	}{
		"nothing":          {func(*testing.T, string) {}, ""},
		"another line":     {put("README.md", "one\n2\n"), "README.md: differs from what was computed, first in line 2"},
		"a line too many":  {put("README.md", "one\ntwo\nthree\n"), "README.md: differs"},
		"a missing figure": {drop("a.svg"), "a.svg: is missing"},
		"a page too many":  {put("old.md", "x"), "old.md: nothing computes it"},
		"the first run":    {put(firstRun, "x"), ""},
		"another's file":   {put(".keep", ""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := f.Write(dir); err != nil {
				t.Fatal(err)
			}
			tc.change(t, dir)
			err := f.Compare(dir)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error is %v, want %q", err, tc.want)
			}
			if err := f.Write(dir); err != nil {
				t.Fatal(err)
			}
			if err := f.Compare(dir); err != nil {
				t.Errorf("after writing: %v", err)
			}
		})
	}
}

// What nobody computes, and is no leftover, is still there when results are written.
func TestWriteKeepsTheFirstRun(t *testing.T) {
	dir := t.TempDir()
	put(firstRun, "x")(t, dir)
	if err := (Files{"README.md": []byte("one\n")}).Write(dir); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, firstRun)); err != nil || string(text) != "x" {
		t.Errorf("it is %q, %v", text, err)
	}
}

func put(name, text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func drop(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnswerHasTheFieldsInOrder(t *testing.T) {
	line, err := Answer{}.Line()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"queueingSpeedup":0,"jctSpeedup":0,"utilisationGain":0,"shareOfOracle":0,"wasteShare":0,"evictionsVsLyra":0,"lostWorkVsLyra":0,"shortWindowsShare":0}`
	if line != want {
		t.Errorf("%s\nwant\n%s", line, want)
	}
}

// A hair less than nothing is told as nothing, without a sign.
func TestNothingHasNoSign(t *testing.T) {
	if got := four(-0.00001); got != 0 || math.Signbit(got) {
		t.Errorf("told is %v", got)
	}
	if got := four(-0.5); got != -0.5 {
		t.Errorf("told is %v, want -0.5", got)
	}
}

// good is an answer that meets every target, right at the bar.
func good() (Answer, DeepSeek) {
	return Answer{QueueingSpeedup: 1.8, JCTSpeedup: 1.6, UtilisationGain: 0.25, ShareOfOracle: 0.85, WasteShare: 0.05, EvictionsVsLyra: 0.67, ShortWindowShare: 0.001},
		DeepSeek{Row: trial.Row{LentGPUHours: 9000}, Slowest: 1800}
}

func TestJudge(t *testing.T) {
	declared := maps.Clone(shortfalls)
	defer func() { shortfalls = declared }()
	shortfalls = nil
	a, d := good()
	if _, err := judge(a, &d); err != nil {
		t.Errorf("all at the bar: %v", err)
	}
	for _, tc := range []struct {
		name string
		miss func(*Answer, *DeepSeek)
	}{
		{"queueing", func(a *Answer, _ *DeepSeek) { a.QueueingSpeedup = 1.79 }},
		{"completion", func(a *Answer, _ *DeepSeek) { a.JCTSpeedup = 1.59 }},
		{"utilisation", func(a *Answer, _ *DeepSeek) { a.UtilisationGain = 0.24 }},
		{"harvest", func(a *Answer, _ *DeepSeek) { a.ShareOfOracle = 0.84 }},
		{"waste", func(a *Answer, _ *DeepSeek) { a.WasteShare = 0.06 }},
		{"evictions", func(a *Answer, _ *DeepSeek) { a.EvictionsVsLyra = 0.68 }},
		{"short", func(a *Answer, _ *DeepSeek) { a.ShortWindowShare = 0.002 }},
		{"DeepSeek's day, GPU", func(_ *Answer, d *DeepSeek) { d.Row.LentGPUHours = 8999 }},
		{"DeepSeek's day, slowest", func(_ *Answer, d *DeepSeek) { d.Slowest = 1801 }},
	} {
		a, d := good()
		tc.miss(&a, &d)
		shortfalls = nil
		if _, err := judge(a, &d); err == nil || !strings.HasPrefix(err.Error(), tc.name) {
			t.Errorf("%s: missed, and the error is %v", tc.name, err)
		}
		i := slices.IndexFunc(targets, func(g target) bool { return strings.HasPrefix(g.name, tc.name) })
		shortfalls = map[string]string{targets[i].name: "for a reason"}
		if _, err := judge(a, &d); err != nil {
			t.Errorf("%s: declared, and the error is %v", tc.name, err)
		}
		a, d = good()
		if _, err := judge(a, &d); err == nil || !strings.Contains(err.Error(), "declared as missed") {
			t.Errorf("%s: declared as missed and met, and the error is %v", tc.name, err)
		}
	}
}

func TestShortfallsAreOfTargets(t *testing.T) {
	for name := range shortfalls {
		if !slices.ContainsFunc(targets, func(g target) bool { return g.name == name }) {
			t.Errorf("%q is no target", name)
		}
	}
}

// Pages can be written of anything, and the same each time.
func TestFiles(t *testing.T) {
	r := &Report{Main: []trial.Row{{Policy: product, LentGPUHours: 1234.5}, {Policy: lyra}}, Town: Town{Services: []Service{{Name: "chat"}}}}
	a, err := r.Files()
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "main.md", "ablations.md", "deepseek.md", "scale.md", "limits.md", "results.json", "harvest.svg"} {
		if len(a[name]) == 0 || string(a[name]) != string(b[name]) {
			t.Errorf("%s: %d bytes, and %d", name, len(a[name]), len(b[name]))
		}
	}
	var read map[string]any
	if err := json.Unmarshal(a["results.json"], &read); err != nil {
		t.Errorf("results.json: %v", err)
	}
	for name, page := range a {
		if strings.HasSuffix(name, ".md") && strings.Contains(string(page), "<no value>") {
			t.Errorf("%s has a hole", name)
		}
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		percent(0): "0 %", percent(0.00005): "0.0050 %", percent(0.0123): "1.23 %", percent(0.3366): "33.7 %", percent(1.2): "120.0 %",
		number(int64(1234567)): "1,234,567", number(7): "7", number(1234.5): "1,234", number(-1234.6): "-1,235", number(12.34): "12.3", number(0.456): "0.46", number(0.0): "0", number(0.00144): "0.0014",
		span(0): "0 s", span(7.94): "7.9 s", span(83): "83 s", span(600): "10 min", span(9000): "2.5 h", times(2): "2.00×",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestEvictionRatios(t *testing.T) {
	town := func(ours, theirs float64) Variant {
		return Variant{Rows: []trial.Row{{Policy: product, EvictionRate: ours}, {Policy: lyra, EvictionRate: theirs}}}
	}
	r := &Report{Pools: []Variant{town(0.3, 0.2), town(0.5, 0)}, Towns: []Variant{town(0.1, 0.2)}}
	if got, want := r.EvictionRatios(), (Span{0.5, 1.5}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := (&Report{}).EvictionRatios(); got != (Span{}) {
		t.Errorf("of no towns: %+v", got)
	}
}
