package picture

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("picture differs (-want +got):\n%s", diff)
	}
}

// A trough in the small hours, lent and taken back in steps.
func trough() []Sample {
	var samples []Sample
	for at := time.Duration(0); at < 24*time.Hour; at += 5 * time.Minute {
		s := Sample{At: at, Load: 0.65, Online: 80}
		switch {
		case at >= 13*time.Hour && at < 19*time.Hour:
			s.Load, s.Online, s.Lent = 0.2, 24, 48
		case at >= 19*time.Hour && at < 20*time.Hour:
			s.Load, s.Online, s.Lent = 0.4, 56, 24
		}
		if at == 19*time.Hour {
			s.Reclaims = 3
		}
		if at == 20*time.Hour {
			s.Reclaims = 12
		}
		samples = append(samples, s)
	}
	return samples
}

func TestDay(t *testing.T) {
	got := Draw(trough(), Options{
		Title: "a day of lending", To: 24 * time.Hour, Clock: 12 * time.Hour,
		Units: 80, LowWater: 0.5, HighWater: 0.8, Columns: 72,
	})
	golden(t, "testdata/day.txt", got)
	for _, line := range strings.Split(got, "\n") {
		if len(line) > 72+margin+20 {
			t.Errorf("line of %d characters: %q", len(line), line)
		}
	}
}

func TestPartOfADayWithGaps(t *testing.T) {
	samples := trough()
	golden(t, "testdata/part.txt", Draw(samples[:220], Options{
		From: 12 * time.Hour, To: 20 * time.Hour, Clock: 12 * time.Hour,
		Units: 80, LowWater: 0.3, HighWater: 0.7, Columns: 40,
	}))
}

func TestNoSamples(t *testing.T) {
	got := Draw(nil, Options{To: time.Hour, Units: 8, LowWater: 0.3, HighWater: 0.7, Columns: 20})
	if strings.ContainsAny(got, "*#:") && !strings.Contains(got, "00:00") {
		t.Errorf("an empty day shows something:\n%s", got)
	}
}
