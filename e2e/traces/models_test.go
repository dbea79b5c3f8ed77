package traces

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestModelRates(t *testing.T) {
	for service, want := range map[string]struct {
		bins, gaps int
		first      float64
	}{
		"m-mid": {2016, 102, 986.5650}, "m-small": {2016, 37, 809.7617},
		"deepseek-r1": {144, 0, 14.8633}, "mm-image": {144, 0, 5.5583},
	} {
		bins, err := ModelRates(service)
		if err != nil {
			t.Fatal(err)
		}
		gaps := 0
		for _, b := range bins {
			if b.Gap {
				gaps++
			}
		}
		if len(bins) != want.bins || gaps != want.gaps || bins[0].PerSecond != want.first {
			t.Errorf("%s: %d bins with %d gaps from %v, want %+v", service, len(bins), gaps, bins[0].PerSecond, want)
		}
	}
	if _, err := ModelRates("gpt"); err == nil {
		t.Error("unknown service: no error")
	}
}

func TestModelRatesRefusesHoles(t *testing.T) {
	const header = "t_s,m_mid,m_small,deepseek_r1,mm_image\n"
	for name, tc := range map[string]struct{ rows, want string }{
		"a row is missing":       {"0,1,1,1,1\n1200,1,1,1,1\n", "rates.csv:3: t_s"},
		"a cell in the middle":   {"0,1,1,1,1\n600,1,1,,1\n1200,1,1,1,1\n", "rates.csv:4: deepseek_r1"},
		"a rate is not a number": {"0,1,1,NaN,1\n", "rates.csv:2: deepseek_r1"},
	} {
		fsys := fstest.MapFS{"rates.csv": {Data: []byte(header + tc.rows)}}
		if _, err := modelRates(fsys, "rates.csv", "deepseek-r1"); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error is %v, want one with %q", name, err, tc.want)
		}
	}
}
