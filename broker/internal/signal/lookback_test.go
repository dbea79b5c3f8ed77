package signal

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestLookbacks: what a query looks back over is found in its text.
func TestLookbacks(t *testing.T) {
	const m = time.Minute
	up := func(d time.Duration) lookback { return lookback{selector: "up", window: d, optional: true} }
	for query, want := range map[string][]lookback{
		"sum(llm_pending_requests)":                   nil,
		"sum by (pod) (x{a=\"[5m]\"})":                nil,
		"x # [5m]\n":                                  nil,
		"sum(rate(x[5m]))":                            {{selector: "x", window: 5 * m}},
		"rate(job:x:sum [ 1h30m ] )":                  {{selector: "job:x:sum", window: 90 * m}},
		"rate(x[90])":                                 {{selector: "x", window: 90 * time.Second}},
		`rate(x{a="}",b=~'[[]"'} [5m]) > 3`:           {{selector: `x{a="}",b=~'[[]"'}`, window: 5 * m}},
		`rate({__name__="x"}[5m])`:                    {{selector: `{__name__="x"}`, window: 5 * m}},
		"rate(x[5m]) / rate(y[10m])":                  {{selector: "x", window: 5 * m}, {selector: "y", window: 10 * m}},
		"rate(x[5m] offset 1h)":                       {{selector: "x", window: 5 * m, offset: 60 * m}},
		"rate(x[5m] @ 1700000000 offset 1h)":          {{selector: "x", window: 5 * m, offset: 60 * m}},
		"rate(x[5m] offset -1h)":                      {{selector: "x", window: 5 * m}},
		`max_over_time((y and {__name__="x"})[5m:])`:  {up(5 * m)},
		`y and {__name__="x"}[5m]`:                    {{selector: `{__name__="x"}`, window: 5 * m}},
		"max_over_time(x[10m:1m])":                    {{selector: "x", window: 10 * m}},
		"max_over_time(sum(x)[10m:])":                 {up(10 * m)},
		"max_over_time(rate(x[5m])[10m:1m])":          {{selector: "x", window: 15 * m}, up(15 * m)},
		"max_over_time(sum(x)[10m:1m] offset 20m)":    {up(30 * m)},
		"max_over_time(max_over_time((x)[1m:])[9m:])": {up(10 * m)},
	} {
		got, err := lookbacks(query)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(lookback{})); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", query, err, diff)
		}
	}
	for query, want := range map[string]string{
		"rate(x[2*5m])": "the query has the range [2*5m], want a duration: how far it looks back cannot be told",
	} {
		if _, err := lookbacks(query); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", query, err, want)
		}
	}
}
