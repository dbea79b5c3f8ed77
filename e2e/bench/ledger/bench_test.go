package ledger

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// A small run has all figures, and the last line is what it promises to be.
func TestSmallRun(t *testing.T) {
	var out bytes.Buffer
	c := Config{Appends: 60, Turn: 25, Records: 3000, Rounds: 1, Dir: t.TempDir(), Out: &out}
	if err := Run(c); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var figures map[string]float64
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &figures); err != nil {
		t.Fatalf("last line %q: %v", lines[len(lines)-1], err)
	}
	for _, name := range []string{
		"appendsPerSecond", "rawBboltUpdatesPerSecond", "ratio", "verifyMillionSeconds", "bytesPerRecord", "statementMillionMilliseconds",
	} {
		if figures[name] <= 0 {
			t.Errorf("%s is %v in %s", name, figures[name], out.String())
		}
		delete(figures, name)
	}
	if len(figures) > 0 {
		t.Errorf("unknown figures %v", figures)
	}
}

func TestConfigIsChecked(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
	c.Rounds = 0
	if err := c.Validate(); err == nil || err.Error() != "rounds: 0 is not at least 1" {
		t.Errorf("no rounds: %v", err)
	}
}
