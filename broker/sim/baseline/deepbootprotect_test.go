package baseline

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestProtectFor(t *testing.T) {
	for reuses, want := range []time.Duration{30, 45, 60, 75, 90, 105, 120, 120} {
		if got := protectFor(reuses); got != want*time.Second {
			t.Errorf("%d reuses: %s, want %s", reuses, got, want*time.Second)
		}
	}
}

func TestShield(t *testing.T) {
	type step struct {
		at     time.Duration // seconds
		online int64
		units  int64
		next   time.Duration // seconds
	}
	for name, steps := range map[string][]step{
		"never held sleeps":                  {{0, 0, 0, 0}},
		"kept for half a minute":             {{0, 8, 0, 0}, {10, 0, 8, 40}, {39, 0, 8, 40}, {40, 0, 0, 0}},
		"longer if it came back":             {{0, 8, 0, 0}, {10, 0, 8, 40}, {20, 8, 0, 0}, {30, 0, 8, 75}},
		"and again":                          {{0, 8, 0, 0}, {10, 0, 8, 40}, {20, 8, 0, 0}, {30, 0, 8, 75}, {40, 8, 0, 0}, {50, 0, 8, 110}},
		"forgotten once it slept":            {{0, 8, 0, 0}, {10, 0, 8, 40}, {50, 8, 0, 0}, {60, 0, 8, 90}},
		"the last one kept comes back first": {{0, 8, 0, 0}, {10, 4, 4, 40}, {20, 0, 8, 40}, {25, 4, 4, 40}},
		"only as many as came back":          {{0, 8, 0, 0}, {10, 0, 8, 40}, {20, 2, 6, 40}, {30, 0, 8, 40}, {40, 0, 2, 75}},
	} {
		t.Run(name, func(t *testing.T) {
			var s shield
			for _, st := range steps {
				s.see(st.at*time.Second, st.online)
				if units, next := s.protected(); units != st.units || next != st.next*time.Second {
					t.Errorf("at %ds %d units are kept until %s, want %d until %ds", st.at, units, next, st.units, st.next)
				}
			}
		})
	}
}

// No unit is lost or doubled, and none is kept for longer than the longest window.
func TestShieldKeepsCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s shield
		now := time.Duration(0)
		const capacity = 8
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 60).Draw(t, "seconds")) * time.Second
			online := rapid.Int64Range(0, capacity).Draw(t, "online")
			s.see(now, online)
			held := int64(0)
			for _, n := range s.running {
				held += n
			}
			units, next := s.protected()
			if held != online || held+units > capacity || units < 0 || units > 0 && (next <= now || next > now+2*time.Minute) {
				t.Fatalf("%d held, want %d; %d kept until %s at %s", held, online, units, next, now)
			}
		}
	})
}
