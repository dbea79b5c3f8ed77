package term

import (
	"bytes"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/internal/cli/term/termtest"
)

func TestWorkingSaysNothingSoon(t *testing.T) {
	s := termtest.NewScreen("")
	c := clocktesting.NewFakeClock(time.Unix(0, 0))
	done := Working(s, c, "asking")
	done()
	done()
	if got := s.Text(); got != "" {
		t.Errorf("it wrote %q", got)
	}
}

func TestWorking(t *testing.T) {
	s := termtest.NewScreen("")
	c := clocktesting.NewFakeClock(time.Unix(0, 0))
	done := Working(s, c, "asking")
	c.Step(Patience)
	<-s.Wrote
	done()
	if got, want := s.Text(), "\rasking (1s) ...\r"+strings.Repeat(" ", 15)+"\r"; got != want {
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
