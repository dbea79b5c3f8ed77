package reclaim

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// On real control planes the whole of it works: both systems make room for the online
// pods of the smallest case, and what must be so whatever the machine's speed is.
func TestRun(t *testing.T) {
	var out, log bytes.Buffer
	c := Default()
	c.Cases, c.Rounds, c.Out, c.Log = []string{"a"}, 1, &out, &log
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute) // it may have to build
	defer cancel()
	if err := Run(ctx, c); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var got struct {
		Case                          string
		Stock, Ebbtide                figures
		LostWorkRatio, WorstWaveRatio *float64
	}
	decoder := json.NewDecoder(strings.NewReader(lines[len(lines)-1]))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatalf("read the last line: %v\n%s", err, out.String())
	}
	if got.Case != "a" || got.Stock.EvictedPods < 8 || got.Stock.BrokenJobs < 1 || got.Stock.LostGPUSeconds <= 0 {
		t.Errorf("stock took too little to make room: %+v", got)
	}
	// One gang is just enough, and the one that loses least is one that stock may have
	// taken too.
	if got.Ebbtide.EvictedPods != 8 || got.Ebbtide.BrokenJobs != 1 || *got.LostWorkRatio > 1 {
		t.Errorf("Ebbtide did not take one gang, the cheapest: %+v\n%s", got, out.String())
	}
	if got.Ebbtide.PendingToBoundP99Seconds < exitAfter.Seconds() {
		t.Errorf("pods were bound after %v s, before anybody can have stopped", got.Ebbtide.PendingToBoundP99Seconds)
	}
}
