package demo

import (
	"fmt"
	"os"
	"time"

	"github.com/ebbtide/ebbtide/e2e/demo/picture"
	"github.com/ebbtide/ebbtide/e2e/demo/stage"
)

// screen shows the live line: in place on a terminal, now and then elsewhere.
type screen struct {
	config Config
	live   bool
	every  time.Duration
	last   time.Time
	width  int
}

func newScreen(c Config) *screen {
	s := &screen{config: c, every: 10 * time.Second}
	if f, ok := c.Log.(*os.File); ok && !c.Check {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			s.live, s.every = true, stage.Frame
		}
	}
	return s
}

func (s *screen) show(p *show, sample picture.Sample, replicas int64) {
	now := time.Now()
	if now.Sub(s.last) < s.every {
		return
	}
	s.last = now
	usage, report, jobs := p.auditor.Usage(), p.auditor.Report(), p.Jobs.Counts()
	// Short enough to be rewritten in place on 80 columns.
	line := fmt.Sprintf("%s load %3.0f%% replicas %3d/%-3d lent %4d to %3d jobs, %3d wait, %3d done, %3d reclaims",
		stage.ClockTime(sample.At), sample.Load*100, usage.Online/gpusPerNode, replicas, usage.Bound, usage.OpenLoans,
		jobs.Waiting, jobs.Finished, report.Reclaimed)
	if n := len(report.Violations); n > 0 {
		line += fmt.Sprintf(", %d VIOLATIONS", n)
	}
	if !s.live {
		fmt.Fprintln(s.config.Log, line)
		return
	}
	fmt.Fprintf(s.config.Log, "\r%-*s", s.width, line)
	s.width = max(s.width, len(line))
}

func (s *screen) done() {
	if s.live {
		fmt.Fprintln(s.config.Log)
	}
}
