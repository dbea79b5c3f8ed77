package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent/journal"
)

func open(t *testing.T, folder string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(folder, "gpu-0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func fill(j *journal.Journal) {
	g := &journal.GPU{UUID: "GPU-b", Pending: &journal.Step{Kind: journal.StepCreate, At: mig.Placed{Profile: 3}}}
	g.Put(journal.Instance{Placed: mig.Placed{Profile: 0, Start: 4}, Name: "1g.5gb", Generation: g.Next(mig.Placed{Start: 4}), GI: 11, UUID: "MIG-1"})
	j.State.AddGPU(g)
	j.State.AddGPU(&journal.GPU{UUID: "GPU-a"})
	j.State.Reshapes = append(j.State.Reshapes, &journal.Reshape{
		Spec:  v1alpha1.Reshape{ID: "r1", GPU: "GPU-b", Create: []v1alpha1.MIGPlacement{{Profile: 3}}},
		State: v1alpha1.ReshapeMaking, Since: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), Touched: true,
	})
}

func TestIsThereAgain(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "state")
	j := open(t, folder)
	if !j.New {
		t.Error("a journal that was never there is not new")
	}
	fill(j)
	if err := j.Save(); err != nil {
		t.Fatal(err)
	}
	j.Close()
	again := open(t, folder)
	if diff := cmp.Diff(j.State, again.State); diff != "" {
		t.Errorf("written and read differ (-written +read):\n%s", diff)
	}
	if again.New || again.State.GPUs[0].UUID != "GPU-a" || again.State.GPU("GPU-b").Next(mig.Placed{Start: 4}) != 2 {
		t.Errorf("read %+v", again.State)
	}
}

// Whatever was done to the file, it is never taken for another state.
func TestCorrupt(t *testing.T) {
	folder := t.TempDir()
	j := open(t, folder)
	fill(j)
	if err := j.Save(); err != nil {
		t.Fatal(err)
	}
	j.Close()
	file := filepath.Join(folder, "journal")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		flipped := append([]byte(nil), whole...)
		flipped[n] ^= 1
		for what, content := range map[string][]byte{"cut": whole[:n], "flipped": flipped} {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			j, err := journal.Open(folder, "gpu-0")
			if !errors.Is(err, journal.ErrCorrupt) {
				t.Fatalf("%s at byte %d: error %v", what, n, err)
			}
			if j.State != nil {
				t.Fatalf("%s at byte %d: there is a state", what, n)
			}
			j.Close()
		}
	}
}

func TestIsOnesOwn(t *testing.T) {
	folder := t.TempDir()
	j := open(t, folder)
	if err := j.Save(); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Open(folder, "gpu-0"); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("a second program got it: %v", err)
	}
	j.Close()
	other, err := journal.Open(folder, "gpu-1")
	if !errors.Is(err, journal.ErrOtherNode) || !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("another node got it: %v", err)
	}
	other.Close()
}

// A journal that cannot be written says so, and can be again.
func TestCannotBeWritten(t *testing.T) {
	folder := t.TempDir()
	j := open(t, folder)
	obstacle := filepath.Join(folder, "journal.new")
	if err := os.Mkdir(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	fill(j)
	if err := j.Save(); err == nil {
		t.Fatal("no error")
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	if err := j.Save(); err != nil {
		t.Fatal(err)
	}
}
