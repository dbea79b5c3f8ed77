package faults

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/faults/rounds"
	"github.com/ebbtide/ebbtide/e2e/lab/build"
)

// Without each of the guards, tests fail that pass with it: one of them with every change,
// and all with LONG=1, as each is a build of its own.
func TestControls(t *testing.T) {
	root, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	controls := Controls()
	if os.Getenv("LONG") == "" {
		controls = controls[:1]
	}
	for _, c := range controls {
		t.Run(c.Guard, func(t *testing.T) {
			if _, err := c.Alone(t.Context(), root, t.TempDir()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Without a guard, the rounds find something, and soon: LONG=1 makes them, which takes
// minutes for each.
func TestControlsInLab(t *testing.T) {
	if os.Getenv("LONG") == "" {
		t.Skip("LONG is not set")
	}
	for _, c := range Controls() {
		if c.Rounds == 0 {
			continue
		}
		t.Run(c.Guard, func(t *testing.T) {
			after, found, err := c.InLab(t.Context(), t.Output())
			if err != nil {
				t.Fatal(err)
			}
			if found.SilentGaps == 0 {
				t.Error("what was found is not what the guard is for")
			}
			t.Logf("found after %d rounds of at most %d, and after %.1f on average over seeds: %s", after, c.Rounds, c.Power(), strings.Join(found.Findings, "\n"))
		})
	}
}

// On average over seeds, the short run would find each guard missing that is tried in the lab.
func TestPower(t *testing.T) {
	for _, c := range Controls() {
		if c.Rounds == 0 {
			continue
		}
		power := c.Power()
		t.Logf("%s: found after %.1f rounds on average", c.Guard, power)
		if most := float64(Short().Rounds); power > most || power < 1 {
			t.Errorf("%s: found after %.1f rounds on average, the short run has %.0f", c.Guard, power, most)
		}
	}
}

// The last line has the names that others read.
func TestLastLine(t *testing.T) {
	var line map[string]any
	if err := json.Unmarshal([]byte(Counts{Rounds: 1, ConvergeSecondsP99: 2.5}.String()), &line); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"rounds", "sigkills", "crashStates", "ackedLost", "duplicates", "doubleLent", "silentGaps", "chainBreaks", "convergeSecondsP99",
		"attackCases", "attacksRefused", "ledgerKills", "brokerKills",
	} {
		if _, has := line[name].(float64); !has {
			t.Errorf("the line has no number %s: %v", name, line)
		}
	}
}

// A run in which something was found, or too little tried, is an error.
func TestEnough(t *testing.T) {
	c := Short()
	good := Counts{Rounds: c.Rounds, Sigkills: 200, CrashStates: 1000, AttackCases: 60, AttacksRefused: 60, ConvergeSecondsP99: 30}
	if err := c.enough(&good); err != nil {
		t.Errorf("a run that found nothing: %v", err)
	}
	for name, change := range map[string]func(n *Counts){
		"only 199 kills":        func(n *Counts) { n.Sigkills-- },
		"only 999 crash states": func(n *Counts) { n.CrashStates-- },
		"rounds were tried":     func(n *Counts) { n.Rounds-- },
		"1 things were found":   func(n *Counts) { n.AckedLost++ },
		"2 things were found":   func(n *Counts) { n.Duplicates, n.DoubleLent = 1, 1 },
		"3 things were found":   func(n *Counts) { n.SilentGaps, n.ChainBreaks, n.Noisy = 1, 1, 1 },
		"took 30.1 s":           func(n *Counts) { n.ConvergeSecondsP99 = 30.1 },
		"59 of 60 attacks":      func(n *Counts) { n.AttacksRefused-- },
		"0 of 0 attacks":        func(n *Counts) { n.AttackCases, n.AttacksRefused = 0, 0 },
	} {
		n := good
		change(&n)
		if err := c.enough(&n); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("want an error with %q, got %v", name, err)
		}
	}
}

// The short run and the long one try what they promise.
func TestConfigs(t *testing.T) {
	for name, c := range map[string]Config{"short": Short(), "long": Long()} {
		for seed := range uint64(200) {
			if n := c.Disk.Kills + rounds.Kills(seed, c.Rounds); n < c.LeastKills {
				t.Errorf("%s: with seed %d only %d processes are killed for sure, want %d", name, seed, n, c.LeastKills)
			}
		}
		if c.Rounds%c.Block != 0 || c.Silence < 60*time.Second {
			t.Errorf("%s: %d rounds in blocks of %d, with %s of silence", name, c.Rounds, c.Block, c.Silence)
		}
	}
	for _, part := range []string{"disk", "rounds", "attacks", "proxy"} {
		c := Short()
		if err := c.Only(part); err != nil || c.Attacks != (part == "attacks") || (c.Rounds > 0) != (part == "rounds") {
			t.Errorf("only %s: %+v, %v", part, c, err)
		}
	}
	if c := Short(); c.Only("all") == nil {
		t.Error("there is a part that is called all")
	}
}

// Other rounds count as those in the lab do.
func TestMerge(t *testing.T) {
	all := rounds.Result{Rounds: 1, Sigkills: 2, Converge: []time.Duration{time.Second}}
	merge(&all, &rounds.Result{Rounds: 10, DoubleLent: 1, AckedLost: 2, Converge: []time.Duration{3 * time.Second}})
	var n Counts
	n.addRounds(&all)
	if n.Rounds != 11 || n.Sigkills != 2 || n.DoubleLent != 1 || n.AckedLost != 2 || n.ConvergeSecondsP99 != 3 {
		t.Errorf("together they are %s", n)
	}
	if !slices.Equal(all.Converge, []time.Duration{time.Second, 3 * time.Second}) {
		t.Errorf("the times are %v", all.Converge)
	}
}
