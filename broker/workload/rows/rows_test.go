package rows_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

func TestCells(t *testing.T) {
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		cell string
		read func(*rows.Row) any
		want any
		err  string
	}{
		"number":               {"1.5", func(r *rows.Row) any { return r.Number("c") }, 1.5, ""},
		"a number below 0":     {"-1", func(r *rows.Row) any { return r.Number("c") }, 0.0, `x:2: c is "-1", want a number of at least 0`},
		"a number that is not": {"NaN", func(r *rows.Row) any { return r.Number("c") }, 0.0, "want a number"},
		"nothing is not known": {"", func(r *rows.Row) any { return math.IsNaN(r.Known("c")) }, true, ""},
		"NaN is not known":     {"nan", func(r *rows.Row) any { return math.IsNaN(r.Known("c")) }, true, ""},
		"zero is known":        {"0", func(r *rows.Row) any { return r.Known("c") }, 0.0, ""},
		"infinity":             {"+Inf", func(r *rows.Row) any { return r.Known("c") }, 0.0, "want a number"},
		"whole":                {"12", func(r *rows.Row) any { return r.Whole("c", 1) }, int64(12), ""},
		"a half":               {"1.5", func(r *rows.Row) any { return r.Whole("c", 1) }, int64(0), "want a whole number of at least 1"},
		"a count":              {"1000001", func(r *rows.Row) any { return r.Count("c", 1) }, int64(0), "at most a million"},
		"a priority":           {"-100", func(r *rows.Row) any { return r.Priority("c") }, int32(-100), ""},
		"seconds":              {"90.5", func(r *rows.Row) any { return r.Seconds("c") }, 90500 * time.Millisecond, ""},
		"a duration":           {"1h30m", func(r *rows.Row) any { return r.Seconds("c") }, 90 * time.Minute, ""},
		"a duration below 0":   {"-1h", func(r *rows.Row) any { return r.Seconds("c") }, time.Duration(0), "of at least 0"},
		"elapsed":              {"1-02:03:04", func(r *rows.Row) any { return r.Elapsed("c") }, 26*time.Hour + 3*time.Minute + 4*time.Second, ""},
		"elapsed minutes":      {"03:04.123", func(r *rows.Row) any { return r.Elapsed("c") }, 3*time.Minute + 4*time.Second, ""},
		"elapsed seconds":      {"04", func(r *rows.Row) any { return r.Elapsed("c") }, time.Duration(0), "want a duration like"},
		"RFC 3339":             {"2026-03-02T10:00:00+01:00", func(r *rows.Row) any { return r.Moment("c") }, rows.Moment{At: at}, ""},
		"Unix time":            {"1772442000", func(r *rows.Row) any { return r.Moment("c") }, rows.Moment{At: at}, ""},
		"since the beginning":  {"600", func(r *rows.Row) any { return r.Moment("c") }, rows.Moment{After: 10 * time.Minute}, ""},
		"a day":                {"2026-03-02", func(r *rows.Row) any { return r.Moment("c") }, rows.Moment{}, "want a time like"},
		"space around":         {" a ", func(r *rows.Row) any { return r.Named("c") }, "a", ""},
		"no name":              {" ", func(r *rows.Row) any { return r.Named("c") }, "", "want a name"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := rows.Comma("x", strings.NewReader("c,d\n"+tc.cell+",1\n"))
			if err != nil {
				t.Fatal(err)
			}
			r, err := f.Next()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, tc.read(r)); diff != "" {
				t.Error(diff)
			}
			if tc.err == "" && r.Err() != nil || tc.err != "" && (r.Err() == nil || !strings.Contains(r.Err().Error(), tc.err)) {
				t.Errorf("error %v, want %q", r.Err(), tc.err)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	for name, tc := range map[string]struct{ content, want string }{
		"commas":               {"a,b\n1,2\n", "1 2;"},
		"a byte order mark":    {"\ufeffa,b\r\n1,2\r\n", "1 2;"},
		"bars":                 {"a|b\n1|2,5\n\n3|4\n", "1 2,5;3 4;"},
		"bars at the ends":     {"a|b|\n1|2|\n3||\n", "1 2;3 ;"},
		"quotes":               {"a,b\n\"1,5\",2\n", "1,5 2;"},
		"quotes between bars":  {"a|b\n\"x|y\n", "\"x y;"},
		"a short line":         {"a,b\n1,2\n3\n", "1 2;x:3: has 1 fields, want 2 as the header"},
		"a long line":          {"a|b\n1|2|3\n", "x:2: has 3 fields, want 2 as the header"},
		"a quote that is open": {"a,b\n\"1,2\n", `x: parse error on line 2, column 6: extraneous or missing " in quoted-field`},
		"nothing":              {"", "x: read header: the file is empty"},
		"two columns alike":    {"a,a\n", `x:1: column 2 is "a", must have a name and no other column's`},
		"another column":       {"a,b,c\n1,2,3\n", `x:1: header has unknown columns ["c"]: want a; may have b`},
		"no column":            {"b\n1\n", "x:1: header has no column a: want a"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := read(tc.content); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// read is what a file with a column a, and perhaps b, has in it, or what is wrong.
func read(content string) (said string) {
	f, err := rows.Open("x", strings.NewReader(content))
	if err == nil {
		err = f.Expect([]string{"a"}, []string{"b"})
	}
	if err == nil {
		err = f.Each(func(r *rows.Row) { said += r.Text("a") + " " + r.Text("b") + ";" })
	}
	if err != nil {
		said += err.Error()
	}
	return said
}

func FuzzOpen(f *testing.F) {
	f.Add("a,b\n1,2\n")
	f.Add("a|b|\n1|2|\n")
	f.Add("\ufeffa,b\n\"1\",2\n")
	f.Fuzz(func(t *testing.T, content string) {
		file, err := rows.Open("x", strings.NewReader(content))
		if err != nil {
			return
		}
		for {
			r, err := file.Next()
			if err != nil {
				return
			}
			for _, c := range file.Header() {
				_, _, _, _ = r.Known(c), r.Count(c, 0), r.Seconds(c), r.Moment(c)
				if d := r.Elapsed(c); d < 0 {
					t.Errorf("elapsed %q is %s", r.Text(c), d)
				}
			}
		}
	})
}
