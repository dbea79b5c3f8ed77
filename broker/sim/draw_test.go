package sim

import (
	"math"
	"testing"
	"time"
)

// The first numbers of seed 0 are those that are known of splitmix64.
func TestDraws(t *testing.T) {
	d := NewDraws(0)
	for i, want := range []uint64{0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f, 0xf88bb8a8724c81ec} {
		if got := d.Next(); got != want {
			t.Errorf("number %d is %#x, want %#x", i, got, want)
		}
	}
	const n = 100_000
	var share float64
	var wait time.Duration
	var below [7]int
	for range n {
		share += d.Share()
		wait += d.Wait(time.Minute)
		below[d.Below(7)]++
	}
	if mean := share / n; math.Abs(mean-0.5) > 0.005 { // five standard deviations
		t.Errorf("shares are %v in the mean", mean)
	}
	if mean := wait / n; mean < 59*time.Second || mean > 61*time.Second {
		t.Errorf("waits are %s in the mean, want about 1m", mean)
	}
	for i, count := range below {
		if math.Abs(float64(count)-n/7.) > 600 {
			t.Errorf("%d came %d times of %d", i, count, n)
		}
	}
}
