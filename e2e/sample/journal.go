package sample

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// What the journal tells of.
const (
	// EventStarted: Step is where the run goes on from.
	EventStarted = "started"
	// EventStep: Step has been done.
	EventStep = "step"
	// EventSaved: Step is in the checkpoint.
	EventSaved = "saved"
	// EventTold: the pod's annotation says Saved.
	EventTold = "told"
	// EventNotice: the units are taken back by By; Source says from where this is known.
	EventNotice = "notice"
	// EventTerminated: SIGTERM came; By is the deadline, if it is known.
	EventTerminated = "terminated"
	// EventStopped and EventDone are how a run ends that is not killed.
	EventStopped = "stopped"
	EventDone    = "done"
)

// Entry is one line of the journal.
type Entry struct {
	At    time.Time `json:"at"`
	Event string    `json:"event"`
	// Step counts the steps done, Work is how many seconds they take.
	Step   int64     `json:"step"`
	Work   float64   `json:"workSeconds"`
	Source string    `json:"source,omitempty"`
	By     time.Time `json:"by,omitzero"`
	Saved  time.Time `json:"saved,omitzero"`
}

// journal appends to a file, one line at a time, so that what a killed process wrote
// stays. A nil journal is silent.
type journal struct {
	stepTime time.Duration
	mu       sync.Mutex
	file     *os.File
}

func openJournal(path string, stepTime time.Duration) (*journal, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	return &journal{stepTime: stepTime, file: file}, nil
}

func (j *journal) write(e Entry) error {
	if j == nil {
		return nil
	}
	e.At = time.Now()
	e.Work = (time.Duration(e.Step) * j.stepTime).Seconds()
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

func (j *journal) close() error {
	if j == nil {
		return nil
	}
	return j.file.Close()
}

// ReadJournal reads the runs of a program, all in one file. A last line that is not
// whole, because it is just being written, is left out.
func ReadJournal(path string) ([]Entry, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	var entries []Entry
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var e Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("read journal %s: line %d: %w", path, len(entries)+1, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}
