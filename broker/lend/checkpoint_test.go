package lend

import (
	"testing"
	"time"
)

func TestCheckpoints(t *testing.T) {
	start := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	now := start.Add(100 * time.Minute)
	for name, tc := range map[string]struct {
		interval, last string
		pods           []string
		now, want      time.Time
		noted          bool
	}{
		"nothing is known": {now: now, want: start},
		"an interval":      {interval: "15m", now: now, want: start.Add(90 * time.Minute)},
		"no interval":      {interval: "-15m", now: now, want: start},
		"said by the job":  {last: start.Add(time.Hour).Format(time.RFC3339), interval: "15m", now: now, want: start.Add(time.Hour)},
		"before the start": {last: start.Add(-time.Hour).Format(time.RFC3339), now: now, want: start, noted: true},
		"in the future":    {last: now.Add(time.Hour).Format(time.RFC3339), now: now, want: now, noted: true},
		"before both":      {last: now.Add(time.Hour).Format(time.RFC3339), now: start.Add(-time.Minute), want: start, noted: true},
		"newest of the pods": {
			last: start.Add(10 * time.Minute).Format(time.RFC3339), now: now, want: start.Add(50 * time.Minute),
			pods: []string{"", start.Add(50 * time.Minute).Format(time.RFC3339), "soon", start.Add(20 * time.Minute).Format(time.RFC3339)},
		},
		"no time":            {last: "lately", now: now, want: start},
		"not yet started":    {interval: "15m", now: start.Add(-time.Second), want: start},
		"in another zone":    {last: "2026-03-01T04:30:00+02:00", now: now, want: start.Add(30 * time.Minute)},
		"saved at the start": {last: start.Format(time.RFC3339), interval: "15m", now: now, want: start},
	} {
		t.Run(name, func(t *testing.T) {
			every, at := ReadCheckpoints(tc.interval, tc.last)
			said := Checkpoints{every, []time.Time{at}}
			for _, text := range tc.pods {
				_, at := ReadCheckpoints("", text)
				said.Last = append(said.Last, at)
			}
			got := said.Since(start, tc.now)
			if !got.At.Equal(tc.want) || tc.noted != (got.Note != "") {
				t.Errorf("saved %+v, want at %s, noted: %v", got, tc.want, tc.noted)
			}
		})
	}
}
