package simgpu

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// Write is one call that writes to a GPU: one that had its effect, or one that was
// refused and says so.
type Write struct {
	// Seq is the number of the write among those of the folder, from 1.
	Seq  int64     `json:"seq"`
	Time time.Time `json:"time"`
	// By is who wrote: the name given to Open, or "install", "foreign", "administrator",
	// "reboot", "fault".
	By  string `json:"by"`
	GPU string `json:"gpu"`
	// Op is OpCreateGI, OpCreateCI, OpDestroyCI or OpDestroyGI.
	Op Op `json:"op"`
	mig.Placed
	GI int `json:"gi"`
	// Serial is of the instance itself, and never given out again: two instances with the
	// same place, number and UUID have different ones.
	Serial int64 `json:"serial,omitempty"`
	// Error is why it was refused.
	Error string `json:"error,omitempty"`
}

// log notes a write; i is nil where there is no instance.
func (t *tx) log(op Op, gpu string, at mig.Placed, i *instance, refused error) {
	t.Seq++
	w := Write{Seq: t.Seq, Time: t.now, By: t.by, GPU: gpu, Op: op, Placed: at, GI: -1}
	if i != nil {
		w.GI, w.Serial = i.GI, i.Serial
	}
	if refused != nil {
		w.Error = refused.Error()
	}
	t.written = append(t.written, w)
}

func (s *Sim) appendLog(written []Write) error {
	if len(written) == 0 {
		return nil
	}
	var lines bytes.Buffer
	for _, w := range written {
		raw, err := json.Marshal(w)
		if err != nil {
			return fmt.Errorf("write the log of simulated GPUs: %w", err)
		}
		// Each begins a line, so that one which was cut off by a death spoils no other.
		lines.WriteByte('\n')
		lines.Write(raw)
	}
	f, err := os.OpenFile(filepath.Join(s.dir, logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write the log of simulated GPUs: %w", err)
	}
	defer f.Close()
	if _, err := f.Write(lines.Bytes()); err != nil {
		return fmt.Errorf("write the log of simulated GPUs: %w", err)
	}
	return nil
}

// Writes returns what was written to the GPUs of the folder since it was created, in
// order: by drivers, and by all that this package plays.
func (s *Sim) Writes() ([]Write, error) {
	// The lock keeps half of a running call out.
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	st, err := s.load()
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(s.dir, logFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the log of simulated GPUs: %w", err)
	}
	defer f.Close()
	var writes []Write
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var w Write
		if json.Unmarshal(lines.Bytes(), &w) != nil {
			continue // cut off, and so never done
		}
		writes = append(before(writes, w.Seq), w)
	}
	return before(writes, st.Seq+1), lines.Err()
}

// before drops what has a number that is given out again: it was noted by somebody who
// died before it was done.
func before(writes []Write, seq int64) []Write {
	for len(writes) > 0 && writes[len(writes)-1].Seq >= seq {
		writes = writes[:len(writes)-1]
	}
	return writes
}
