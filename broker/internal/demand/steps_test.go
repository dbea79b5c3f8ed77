package demand

import (
	"math"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// The past is that of the mean over the stable window, by the minute.
func TestPast(t *testing.T) {
	d := New(Config{StableWindow: 10 * time.Second})
	if _, known := d.Past("a", begin, time.Minute, 1); known {
		t.Error("a lender that was never seen has a past")
	}
	d.Observe("a", begin, lend.Load{Unknown: "nobody answers"}, shape)
	if _, known := d.Past("a", begin, time.Minute, 1); known {
		t.Error("an unknown load has a past")
	}
	for i, load := range []float64{8, 20, 4} {
		at := begin.Add(time.Duration(i) * 30 * time.Second)
		d.Observe("a", at, known(at, load), shape)
	}
	past, known := d.Past("a", begin, time.Minute, 3)
	if !known || past.Requests[0] != 20 || past.Requests[1] != 4 || !math.IsNaN(past.Requests[2]) || !past.Since.Equal(begin) {
		t.Errorf("got %+v", past)
	}
}
