package v1alpha1

import (
	"testing"
	"time"
)

// An agent is heard from when what it says changes, whatever its clock says.
func TestHeard(t *testing.T) {
	now := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	type look struct{ after, beat time.Duration } // both since now, by the listener's clock
	for name, tc := range map[string]struct {
		looks  []look
		until  time.Duration // when it is not silent for the last time
		silent bool          // at the last look
	}{
		"the clocks agree":                   {looks: []look{{0, -10 * time.Second}}, until: SilentAfter - 10*time.Second},
		"seen again and again":               {looks: []look{{0, 0}, {time.Minute, 0}, {SilentAfter, 0}}, until: SilentAfter},
		"a slow clock, at first":             {looks: []look{{0, -3 * time.Minute}}, silent: true},
		"a slow clock, and it goes on":       {looks: []look{{0, -3 * time.Minute}, {30 * time.Second, -150 * time.Second}}, until: SilentAfter + 30*time.Second},
		"a fast clock, and then silence":     {looks: []look{{0, time.Hour}, {time.Minute, time.Hour}}, until: SilentAfter},
		"a clock that is set back":           {looks: []look{{0, 0}, {time.Minute, -time.Hour}}, until: SilentAfter + time.Minute},
		"it has not spoken, and then it has": {looks: []look{{0, -1 << 62}, {time.Minute, time.Minute}}, until: SilentAfter + time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			var h Heard
			at := now
			for _, l := range tc.looks {
				beat := now.Add(l.beat)
				if l.beat == -1<<62 {
					beat = time.Time{}
				}
				at = now.Add(l.after)
				h = h.Hear(beat, at)
			}
			if h.Silent(at) != tc.silent {
				t.Errorf("silent at the last look: %t", h.Silent(at))
			}
			if last := now.Add(tc.until); !tc.silent && (h.Silent(last) || !h.Silent(last.Add(time.Millisecond))) {
				t.Errorf("after %s: silent is %t, and a millisecond later %t", tc.until, h.Silent(last), h.Silent(last.Add(time.Millisecond)))
			}
		})
	}
	if !(Heard{}).Silent(now) || !(Heard{}).Hear(time.Time{}, now).Silent(now) {
		t.Error("who never spoke is not silent")
	}
}
