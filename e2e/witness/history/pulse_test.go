package history

import (
	"testing"
	"time"
)

// What is received while the API server is silent, or soon after, may have happened when the
// silence began.
func TestPulse(t *testing.T) {
	began := time.Unix(1000, 0)
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	var p pulse
	since := func(received, want int) {
		t.Helper()
		if got := p.since(at(received)); !got.Equal(at(want)) {
			t.Errorf("what is received after %d ms may have happened since %s, want %d ms", received, got.Sub(began), want)
		}
	}
	since(0, 0) // nobody was asked yet
	p.answer(at(0), at(10))
	p.answer(at(100), at(110))
	since(300, 300)
	since(700, 100) // not answered since
	p.answer(at(3800), at(3900))
	since(4000, 100)
	p.answer(at(4000), at(4010))
	since(6900, 100)
	since(7000, 4000) // nobody asks any more
	for ms := 4100; ms <= 7100; ms += 100 {
		p.answer(at(ms), at(ms+10))
	}
	since(7000, 7000)
	p.answer(at(8000), at(8010))
	since(8100, 7100)
	p.answer(at(9000), at(9010)) // silent again before it was caught up with
	since(9100, 7100)
}
