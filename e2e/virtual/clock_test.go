package virtual

import (
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	start := time.Unix(1000, 0)
	c, err := NewClock(start, time.Hour, 360)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.At(start.Add(10 * time.Second)); got != 2*time.Hour {
		t.Errorf("after 10s real: %s, want 2h", got)
	}
	if got := c.At(start.Add(-time.Second)); got != time.Hour {
		t.Errorf("before the start: %s, want 1h", got)
	}
	for _, speed := range []float64{0, -1, 1e9} {
		if _, err := NewClock(start, 0, speed); err == nil {
			t.Errorf("speed %v: no error", speed)
		}
	}
}
