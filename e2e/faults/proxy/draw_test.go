package proxy

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// What is drawn depends on the chance that is given; every kind is drawn in time, and none
// each time.
func TestFail(t *testing.T) {
	const times = 200
	draw := func(seed uint64) (said []string) {
		random := rand.New(rand.NewPCG(seed, 1))
		r := NewRig(1, nil)
		for range times {
			text, err := r.Fail(random, "broker", "scheduler")
			if err != nil {
				t.Fatal(err)
			}
			said = append(said, text)
			if len(r.rules) == 0 {
				t.Errorf("%s: no rules are in force", text)
			}
			r.Clear()
			if len(r.rules) > 0 {
				t.Errorf("%s: rules are left after Clear", text)
			}
		}
		return said
	}
	first := draw(3)
	if again := draw(3); strings.Join(first, ";") != strings.Join(again, ";") {
		t.Error("the same chance drew different faults")
	}
	for _, what := range []string{" for broker", " for scheduler", " for everybody"} {
		if n := count(first, what); n == 0 || n == times {
			t.Errorf("%d of %d are%s", n, times, what)
		}
	}
	for _, k := range kinds {
		if n := count(first, k.name); n < times/20 || n > times*3/4 {
			t.Errorf("%s was drawn %d of %d times", k.name, n, times)
		}
	}
}

func count(said []string, what string) (n int) {
	for _, text := range said {
		if strings.Contains(text, what) {
			n++
		}
	}
	return n
}
