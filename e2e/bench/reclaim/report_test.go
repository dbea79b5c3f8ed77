package reclaim

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// lines of rows that lost so much in each wave.
func losing(lost ...float64) []row {
	rows := make([]row, 0, len(lost))
	for i, l := range lost {
		rows = append(rows, row{wave: wave{8 << i, 1}, waves: 1, evicted: 8, broken: 1, lost: l, took: 2 * time.Second, waits: seconds(1, 2), net: seconds(0.5, 1)})
	}
	return rows
}

func TestReport(t *testing.T) {
	for name, test := range map[string]struct {
		trial  trial
		rounds []outcome
		line   string
		want   []string
	}{
		"all met": {
			trial{name: "b", title: "gangs", aims: aimsB},
			[]outcome{{stock: losing(100, 100), ebbtide: losing(10, 20)}},
			`{"case":"b","stock":{"evictedPods":16,"brokenJobs":2,"lostGPUSeconds":200,"pendingToBoundP99Seconds":2},` +
				`"ebbtide":{"evictedPods":16,"brokenJobs":2,"lostGPUSeconds":30,"pendingToBoundP99Seconds":2},"lostWorkRatio":0.15,"worstWaveRatio":0.2}`,
			[]string{"Case b: gangs.", "   met: lost work at most 0.15", "   met: lost work in no wave above", "16 × 1    stock        8", "all  ebbtide       16       2        0.01", "with each wave, as a share of stock's: 0.100, 0.150.\n"},
		},
		"a wave that stock had for nothing": {
			trial{name: "b", aims: aimsB},
			[]outcome{{stock: losing(100, 0), ebbtide: losing(0, 50)}},
			`"lostWorkRatio":0.5,"worstWaveRatio":null}`,
			[]string{"MISSED: lost work at most", "MISSED: lost work in no wave above", "   met: each wave"},
		},
		"nothing was lost": {
			trial{name: "b", aims: aimsB},
			[]outcome{{stock: losing(0), ebbtide: losing(0)}},
			`"lostWorkRatio":0,"worstWaveRatio":0}`,
			[]string{"   met: lost work at most", "   met: lost work in no wave above"},
		},
		"the median of rounds, the aims in all": {
			trial{name: "a", aims: aimsA},
			[]outcome{{stock: losing(100), ebbtide: losing(10)}, {stock: losing(100), ebbtide: losing(90)}, {stock: losing(100, 0), ebbtide: losing(20, 0)}},
			`"lostWorkRatio":0.2,"worstWaveRatio":0.2}`,
			[]string{"MISSED: 8 pods evicted", "MISSED: 1 job broken", "   met: bound within 2 s"},
		},
		"case c is net of stopping": {
			trial{name: "c", aims: aimsC},
			[]outcome{{stock: losing(4), ebbtide: losing(1)}},
			`"ebbtide":{"evictedPods":8,"brokenJobs":1,"lostGPUSeconds":1,"pendingToBoundP99Seconds":1},"lostWorkRatio":0.25,"worstWaveRatio":0.25}`,
			[]string{"   met: P99"},
		},
		"equal ages": {
			trial{name: "b-equal", aims: aimsEqual},
			[]outcome{{stock: losing(4), ebbtide: losing(1)}},
			`{"case":"b-equal",`,
			[]string{"MISSED: 120 pods evicted", "   met: at most 8 jobs", "   met: each wave"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			line, err := report(&out, test.trial, test.rounds)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(line, test.line) {
				t.Errorf("line %s, want in it %s", line, test.line)
			}
			missed := missedIn(test.trial, test.rounds)
			if n := strings.Count(out.String(), "MISSED: "); n != len(missed) {
				t.Errorf("%d aims are shown as missed, and %d were: %v", n, len(missed), missed)
			}
			if err := (Config{}).checked(missed); err != nil {
				t.Errorf("nobody asked: %v", err)
			}
			if err := (Config{Check: true}).checked(missed); (err != nil) != (len(missed) > 0) {
				t.Errorf("%d aims were missed: %v", len(missed), err)
			}
			for _, want := range test.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing:\n%s", want, out.String())
				}
			}
		})
	}
}
