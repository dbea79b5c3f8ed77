package term

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// screen is a terminal that remembers, and tells of every write.
type screen struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
}

func (s *screen) Terminal() bool { return true }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.wrote <- struct{}{} }()
	return s.text.Write(p)
}

func TestWorkingSaysNothingSoon(t *testing.T) {
	s := &screen{wrote: make(chan struct{}, 10)}
	c := clocktesting.NewFakeClock(time.Unix(0, 0))
	done := Working(s, c, "asking")
	done()
	done()
	if got := s.text.String(); got != "" {
		t.Errorf("it wrote %q", got)
	}
}

func TestWorking(t *testing.T) {
	s := &screen{wrote: make(chan struct{}, 10)}
	c := clocktesting.NewFakeClock(time.Unix(0, 0))
	done := Working(s, c, "asking")
	c.Step(Patience)
	<-s.wrote
	done()
	if got, want := s.text.String(), "\rasking (1s) ...\r"+strings.Repeat(" ", 15)+"\r"; got != want {
		t.Errorf("it wrote %q, want %q", got, want)
	}
}

func TestPipesHaveNothingOfIt(t *testing.T) {
	var out bytes.Buffer
	c := clocktesting.NewFakeClock(time.Unix(0, 0))
	Working(&out, c, "asking")()
	if Is(&out) || c.HasWaiters() || out.Len() > 0 {
		t.Error("a buffer is treated as a terminal")
	}
	p := Palette{}
	if got := p.Bad("fail") + p.Good("ok") + p.Warn("warn") + p.Dim("x") + p.Bold("y"); got != "failokwarnxy" {
		t.Errorf("painted %q without colours", got)
	}
	if got := (Palette{On: true}).Bad("fail"); got != "\x1b[31mfail\x1b[0m" {
		t.Errorf("painted %q", got)
	}
}
