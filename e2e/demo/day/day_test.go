package day

import (
	"math"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/traces"
)

func testDay(t *testing.T, nodes int64) *Day {
	t.Helper()
	curve, err := traces.DeepSeekDay()
	if err != nil {
		t.Fatal(err)
	}
	rates, err := traces.AzureWeek("conv")
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(nodes, curve, rates, 36*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestReplicasFollowThePublishedCurve(t *testing.T) {
	d := testDay(t, 278)
	for at, want := range map[time.Duration]int64{
		0: 278, 12 * time.Hour: 218, 16 * time.Hour: 68, 18*time.Hour + 45*time.Minute: 98, 23 * time.Hour: 278, 30 * time.Hour: 278,
	} {
		if got := d.Replicas(at); got != want {
			t.Errorf("at %s: %d replicas, want %d", at, got, want)
		}
	}
	if got := testDay(t, 70).Replicas(16 * time.Hour); got != 18 {
		t.Errorf("of 70 nodes %d at the trough, want 68/278 of them, rounded up", got)
	}
}

func TestLoadNeverExceedsTheReplicas(t *testing.T) {
	d := testDay(t, 70)
	sum := 0.0
	for at := time.Duration(0); at < Length; at += time.Minute {
		if l := d.Load(at); l > float64(d.Replicas(at))+1e-9 || l < 17.9 {
			t.Fatalf("at %s: load of %v replicas, there are %d", at, l, d.Replicas(at))
		}
		if v := d.Variation(at); v < 0.6 || v > 1.5 {
			t.Fatalf("at %s: variation %v is out of all measure", at, v)
		}
		sum += d.Variation(at)
	}
	if mean := sum / (24 * 60); math.Abs(mean-1) > 0.01 {
		t.Errorf("variation has a mean of %v, want 1", mean)
	}
	if got := d.Load(12 * time.Hour); got >= 70 || got < 54 {
		t.Errorf("at the first step down the load is %v, want it to have gone before", got)
	}
}

func TestLendableHours(t *testing.T) {
	d := testDay(t, 278)
	// Without notice it is what the published curve left over: 24 × (278 − 226.75).
	if got := d.LendableHours(0, Length, 0); math.Abs(got-1230) > 0.01 {
		t.Errorf("%v node-hours without notice, want 1230", got)
	}
	// Half an hour of notice costs that much on each of the rises, 210 nodes in all.
	if got := d.LendableHours(0, Length, 30*time.Minute); math.Abs(got-1125) > 3 {
		t.Errorf("%v node-hours with 30m of notice, want about 1125", got)
	}
	whole := d.LendableHours(0, 15*time.Hour, time.Minute) + d.LendableHours(15*time.Hour, Length, time.Minute)
	if got := d.LendableHours(0, Length, time.Minute); math.Abs(got-whole) > 1e-6 {
		t.Errorf("parts add up to %v, the whole is %v", whole, got)
	}
}

func TestUnusableCurvesAreRefused(t *testing.T) {
	curve, _ := traces.DeepSeekDay()
	rates, _ := traces.AzureWeek("conv")
	for name, make := range map[string]func() (*Day, error){
		"no nodes":    func() (*Day, error) { return New(0, curve, rates, 36*time.Hour) },
		"half a day":  func() (*Day, error) { return New(70, curve[:1], rates, 36*time.Hour) },
		"rates end":   func() (*Day, error) { return New(70, curve, rates, 160*time.Hour) },
		"rates begin": func() (*Day, error) { return New(70, curve, rates, 0) },
	} {
		if _, err := make(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
