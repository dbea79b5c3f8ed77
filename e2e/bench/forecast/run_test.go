package forecast

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestLoadCurves(t *testing.T) {
	curves, err := loadCurves()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]struct{ days, from, holes int }{
		"azure-code": {7, 6, 0}, "azure-conv": {7, 6, 0}, "servegen-m-small": {14, 7, 37}, "servegen-m-mid": {14, 7, 102},
		"servegen-deepseek-r1": {1, 0, 0}, "servegen-mm-image": {1, 0, 0}, "deepseek-day": {1, 0, 0},
	}
	for _, c := range curves {
		w, ok := want[c.name]
		holes, peak := 0, 0.0
		for _, v := range c.minutes {
			if math.IsNaN(v) {
				holes++
			} else {
				peak = max(peak, v)
			}
		}
		if days := (len(c.minutes) + day/2) / day; !ok || days != w.days || c.from != w.from*day || holes != w.holes*window || peak != 1 {
			t.Errorf("%s: %d days from minute %d with %d minutes missing and a peak of %v, want %+v", c.name, days, c.from, holes, peak, w)
		}
	}
	if len(curves) != len(want) {
		t.Errorf("%d curves, want %d", len(curves), len(want))
	}
}

func TestValidate(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"notice":   func(c *Config) { c.Notice = 90 * time.Second },
		"others":   func(c *Config) { c.Others = []time.Duration{0} },
		"quantile": func(c *Config) { c.Quantile = 1 },
	} {
		c := Default()
		edit(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

func TestReport(t *testing.T) {
	c := Default()
	var out strings.Builder
	c.Out = &out
	curves := []curve{{name: "one"}}
	trials := []*trial{
		{curve: &curves[0], rule: rule{name: "ebbtide"}, notice: 10, score: score{lent: 0.301, short: 0.0025, worst: 0.1, windows: 400}},
		{curve: &curves[0], rule: rule{name: "oracle"}, notice: 10, score: score{lent: 0.4, windows: 400}},
	}
	trials = append(trials, &trial{curve: &curves[0], rule: rule{name: "band 30/70"}, notice: 10, score: score{lent: 0.2, windows: 400}},
		&trial{curve: &curves[0], rule: rule{name: "best in hindsight"}, notice: 10, score: score{lent: 0.35, windows: 400}})
	if err := report(c, curves, trials); err != nil {
		t.Fatal(err)
	}
	if want := "\n{\"curve\":\"one\",\"lentShareOfOracle\":0.7525,\"shortWindowsShare\":0.0025,\"worstShortfall\":0.1}\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("ends in\n%s\nwant\n%s", out.String(), want)
	}
	if want := "  0.25% yes  0.100 yes "; !strings.Contains(out.String(), want) {
		t.Errorf("has no %q:\n%s", want, out.String())
	}
}

// Straight lines go through the middles of what was recorded, and end at a hole.
func TestRamped(t *testing.T) {
	var b builder
	for i, v := range []float64{1, 3, math.NaN(), 5, 4} {
		b.add(time.Duration(i)*4*time.Minute, v)
	}
	c := b.curve("test", 4*time.Minute)
	got := c.ramped()
	want := []float64{0.2, 0.2, 0.25, 0.35, 0.45, 0.55, 0.6, 0.6, -1, -1, -1, -1, 1, 1, 0.975, 0.925, 0.875, 0.825, 0.8, 0.8}
	if len(got.minutes) != len(want) {
		t.Fatalf("%d minutes, want %d", len(got.minutes), len(want))
	}
	for i, v := range got.minutes {
		if math.IsNaN(v) {
			v = -1
		}
		if math.Abs(v-want[i]) > 1e-9 {
			t.Errorf("minute %d: %v, want %v", i, v, want[i])
		}
	}
	if c.minutes[2] != 0.2 {
		t.Error("the curve itself was changed")
	}
}

// A load is not forecastable where the broker's rule says so: one in bursts is not, one that
// rises is.
func TestForecastable(t *testing.T) {
	var bursts, rise curve
	for i := range 6 * 60 {
		v := 0.01
		if i%5 == 0 {
			v = 1
		}
		bursts.minutes = append(bursts.minutes, v)
		rise.minutes = append(rise.minutes, float64(i+1)/360)
	}
	if got := forecastable(&bursts); got != 0 {
		t.Errorf("bursts are forecastable in %v of the minutes", got)
	}
	if got := forecastable(&rise); got != 1 {
		t.Errorf("a rise is forecastable in %v of the minutes, want all", got)
	}
}
