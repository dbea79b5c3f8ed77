package cli

import (
	"fmt"
	"time"

	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/broker/internal/cli/term"
)

// clockTime is a moment for people, in UTC as everything is.
func clockTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// counted is "1 unit" or "2 units".
func counted(n int64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// seconds as a duration.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// working says on a terminal what is being waited for, if it takes long.
func (s *session) working(what string) (done func()) {
	return term.Working(s.Streams.ErrOut, s.ticker(), what)
}

// ticker is the clock as far as it can tick: one that cannot is a test's that stands still.
func (s *session) ticker() clock.WithTicker {
	if c, ok := s.Clock.(clock.WithTicker); ok {
		return c
	}
	return clock.RealClock{}
}

// palette has colours where a terminal shows the answer, and nobody asked for none.
func (s *session) palette() term.Palette {
	plain := s.noColor || s.Getenv("NO_COLOR") != "" || s.Getenv("TERM") == "dumb"
	return term.Palette{On: !plain && term.Is(s.Streams.Out)}
}
