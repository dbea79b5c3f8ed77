package lend

import (
	"fmt"
	"strings"
	"time"
)

// tell runs the commands about what is known of a service beside its load.
func (s *script) tell(a args, cmd, name string) (known bool, err error) {
	switch cmd {
	case "floor":
		sv, from := s.service(name), s.now.Add(a.duration("in", 0))
		sv.Floors = append(sv.Floors, Floor{
			Name: a.name(1), Units: a.number("units", 0), From: from, Until: from.Add(a.duration("for", 0)), Lead: a.duration("lead", 0),
		})
	case "forecast":
		s.setForecast(a, s.service(name))
	case "hold":
		s.service(name).Hold = nil
		if reason := a.name(1); reason != "" {
			s.service(name).Hold = &Problem{Reason: reason, Message: "held by the script"}
		}
	case "prepare":
		s.service(name).Prepare = &Preparation{Done: a.flag("done"), Message: "the model is being loaded"}
	case "book":
		s.showBook(name)
	default:
		return false, nil
	}
	return true, nil
}

func (s *script) setForecast(a args, sv *service) {
	sv.Forecast = nil
	if len(a.CmdArgs) == 1 {
		return
	}
	whole := 100 * float64(sv.Owned) / float64(sv.UnitsPerPod)
	sv.Forecast = &Forecast{
		Season: a.share("season", 0) * whole, Growth: a.share("growth", 1),
		Dispersion: 100 * a.share("dispersion", 0.01), Floor: a.share("most", 0) * whole,
	}
	if a.flag("ahead") {
		sv.Forecast.Ahead = []Ahead{
			{Within: a.duration("ahead", 0), Load: a.share("until", 0) * whole}, {Within: 2 * a.duration("ahead", 0), Load: a.share("then", 0) * whole},
		}
	}
}

func (s *script) showBook(name string) {
	for _, v := range s.last.Lenders {
		if v.Name != name || v.Advice == nil {
			continue
		}
		a := v.Advice
		var leaving []string
		for _, l := range a.Leaving {
			leaving = append(leaving, fmt.Sprintf("%d by %s", l.Units, l.By.Sub(s.from)))
		}
		fmt.Fprintf(&s.out, "since %s: lent %d (%.0f unit-seconds), leaving %s; %d reclaims, %d waited (%d now), %s at most\n",
			a.Since.Sub(s.from), a.Lent, a.UnitSeconds, strings.Join(leaving, ", "), a.Reclaims, a.Waited, a.Waiting, a.LongestWait.Round(time.Second))
	}
}
