package simgpu

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// The files of a folder: the state, what was written to the GPUs, and the lock that
// whoever changes either holds.
const (
	stateFile = "gpus.json"
	logFile   = "writes.jsonl"
	lockFile  = "lock"
)

// state is everything about the GPUs of one folder.
type state struct {
	Latency Latency `json:"latency"`
	// Serial of the newest instance, and Seq of the newest entry in the log.
	Serial int64 `json:"serial"`
	Seq    int64 `json:"seq"`
	// Unprivileged callers may read and not write.
	Unprivileged bool     `json:"unprivileged,omitempty"`
	Faults       []*Fault `json:"faults,omitempty"`
	Cards        []*card  `json:"cards"`
}

// card is one GPU.
type card struct {
	UUID      string       `json:"uuid"`
	PCI       string       `json:"pci"`
	PCIDevice string       `json:"pciDevice"`
	Product   string       `json:"product"`
	MemoryMiB int64        `json:"memoryMiB"`
	Family    Family       `json:"family"`
	Fresh     bool         `json:"freshUUIDs,omitempty"`
	Geometry  mig.Geometry `json:"geometry"`
	MIG       bool         `json:"mig"`
	Pending   bool         `json:"migPending"`
	// Removed cards are not listed any more, lost ones without anything about them.
	Removed   bool             `json:"removed,omitempty"`
	Lost      bool             `json:"lost,omitempty"`
	Problem   string           `json:"problem,omitempty"`
	Processes []device.Process `json:"processes,omitempty"`
	Activity  *Shares          `json:"activity,omitempty"`
	Instances []*instance      `json:"instances,omitempty"`
}

// instance is a GPU instance, with or without its compute instance.
type instance struct {
	mig.Placed
	GI int `json:"gi"`
	// CI is -1 without compute instance.
	CI     int    `json:"ci"`
	UUID   string `json:"uuid,omitempty"`
	Serial int64  `json:"serial"`
	// Leaked: somebody has a handle open, which no process list shows.
	Leaked    bool             `json:"leaked,omitempty"`
	Processes []device.Process `json:"processes,omitempty"`
	Activity  *Shares          `json:"activity,omitempty"`
}

// load reads the state. It needs no lock: whoever writes puts a new file in place.
func (s *Sim) load() (*state, error) {
	raw, err := os.ReadFile(filepath.Join(s.dir, stateFile))
	if err != nil {
		return nil, fmt.Errorf("read simulated GPUs: %w", err)
	}
	st := new(state)
	if err := json.Unmarshal(raw, st); err != nil {
		return nil, fmt.Errorf("read simulated GPUs in %s: %w", s.dir, err)
	}
	return st, nil
}

// change calls fn with the state and the lock on it, and keeps what fn made of it and of
// the log even if fn returns an error: a refused call may have used up a fault.
func (s *Sim) change(fn func(*tx) error) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	st, err := s.load()
	if err != nil {
		return err
	}
	t := &tx{state: st, now: s.now(), by: s.name}
	result := fn(t)
	return errors.Join(result, s.save(st, t.written))
}

func (s *Sim) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, lockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock simulated GPUs: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock simulated GPUs in %s: %w", s.dir, err)
	}
	// Closing the file gives the lock back, as the death of the process does.
	return func() { f.Close() }, nil
}

// save writes the log before the state: what the log has too much after a death in
// between has a number that the next entry has again, by which Writes knows it.
func (s *Sim) save(st *state, written []Write) error {
	if err := s.appendLog(written); err != nil {
		return err
	}
	raw, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("write simulated GPUs: %w", err)
	}
	temporary := filepath.Join(s.dir, stateFile+".new")
	if err := os.WriteFile(temporary, raw, 0o644); err != nil {
		return fmt.Errorf("write simulated GPUs: %w", err)
	}
	if err := os.Rename(temporary, filepath.Join(s.dir, stateFile)); err != nil {
		return fmt.Errorf("write simulated GPUs: %w", err)
	}
	return nil
}

// tx is a change of the state that is under way.
type tx struct {
	*state
	now     time.Time
	by      string
	written []Write
}

// card finds a GPU that answers.
func (st *state) card(uuid string) (*card, error) {
	for _, c := range st.Cards {
		if c.UUID != uuid || c.Removed {
			continue
		}
		if c.Lost {
			return nil, fmt.Errorf("GPU %s: %w", uuid, device.ErrLost)
		}
		return c, nil
	}
	return nil, fmt.Errorf("GPU %s: %w", uuid, device.ErrNotFound)
}

// at finds the instance at a place.
func (c *card) at(at mig.Placed) (*instance, error) {
	for _, i := range c.Instances {
		if i.Placed == at {
			return i, nil
		}
	}
	return nil, fmt.Errorf("instance of profile %d at %d: %w", at.Profile, at.Start, device.ErrNotFound)
}
