package lend

import (
	"testing"
	"time"
)

func TestLastCheckpoint(t *testing.T) {
	start := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	now := start.Add(100 * time.Minute)
	for name, tc := range map[string]struct {
		interval, last string
		now, want      time.Time
	}{
		"nothing is known":   {now: now, want: start},
		"an interval":        {interval: "15m", now: now, want: start.Add(90 * time.Minute)},
		"no interval":        {interval: "-15m", now: now, want: start},
		"said by the job":    {last: start.Add(time.Hour).Format(time.RFC3339), interval: "15m", now: now, want: start.Add(time.Hour)},
		"before the start":   {last: start.Add(-time.Hour).Format(time.RFC3339), now: now, want: start},
		"in the future":      {last: now.Add(time.Hour).Format(time.RFC3339), now: now, want: now},
		"no time":            {last: "lately", now: now, want: start},
		"not yet started":    {interval: "15m", now: start.Add(-time.Second), want: start},
		"in another zone":    {last: "2026-03-01T04:30:00+02:00", now: now, want: start.Add(30 * time.Minute)},
		"saved at the start": {last: start.Format(time.RFC3339), interval: "15m", now: now, want: start},
	} {
		t.Run(name, func(t *testing.T) {
			every, at := ReadCheckpoints(tc.interval, tc.last)
			if got := LastCheckpoint(start, tc.now, every, at); !got.Equal(tc.want) {
				t.Errorf("LastCheckpoint = %s, want %s", got, tc.want)
			}
		})
	}
}
