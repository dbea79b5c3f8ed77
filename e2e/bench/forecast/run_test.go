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
		{curve: &curves[0], rule: rule{name: "ebbtide"}, notice: 10, score: score{lent: 0.3, short: 0.0025, worst: 0.1, windows: 400}},
		{curve: &curves[0], rule: rule{name: "oracle"}, notice: 10, score: score{lent: 0.4, windows: 400}},
	}
	if err := report(c, curves, trials); err != nil {
		t.Fatal(err)
	}
	if want := "\n{\"curve\":\"one\",\"lentShareOfOracle\":0.75,\"shortWindowsShare\":0.0025,\"worstShortfall\":0.1}\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("ends in\n%s\nwant\n%s", out.String(), want)
	}
}
