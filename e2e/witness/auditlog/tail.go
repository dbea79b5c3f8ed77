package auditlog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

// poll is how often the file is looked at.
const poll = 100 * time.Millisecond

// Tail follows a log.
type Tail struct {
	path   string
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu      sync.Mutex
	log     Log
	file    *os.File // nil: there is none yet
	partial []byte   // of a line whose end is not written yet
	err     error
}

// Follow reads the log at path, from its beginning or, if from is not, from what is written
// from now on. It need not exist yet.
func Follow(path string, fromBeginning bool) (*Tail, error) {
	ctx, cancel := context.WithCancel(context.Background())
	t := &Tail{path: path, cancel: cancel}
	if err := t.open(); err != nil {
		cancel()
		return nil, err
	}
	if t.file != nil && !fromBeginning {
		if _, err := t.file.Seek(0, io.SeekEnd); err != nil {
			cancel()
			return nil, fmt.Errorf("find the end of %s: %w", path, err)
		}
	}
	t.group.Go(func() { t.run(ctx) })
	return t, nil
}

func (t *Tail) run(ctx context.Context) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.mu.Lock()
			t.read()
			t.mu.Unlock()
		}
	}
}

func (t *Tail) open() error {
	f, err := os.Open(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	t.file = f
	return nil
}

// read reads what was written since, and goes on with the next file if there is one.
func (t *Tail) read() {
	for t.err == nil {
		if t.file == nil {
			if t.err = t.open(); t.file == nil {
				return
			}
		}
		renamed := t.renamed() // before the rest is read, which is then all of it
		t.err = t.rest()
		if t.err != nil || !renamed {
			return
		}
		t.err = t.file.Close()
		t.file = nil
	}
}

func (t *Tail) renamed() bool {
	now, err := os.Stat(t.path)
	if err != nil {
		return false
	}
	mine, err := t.file.Stat()
	return err == nil && !os.SameFile(now, mine)
}

func (t *Tail) rest() error {
	r := bufio.NewReaderSize(t.file, 1<<20)
	for {
		text, err := r.ReadBytes('\n')
		if err != nil {
			t.partial = append(t.partial, text...)
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read the audit log: %w", err)
		}
		if len(t.partial) > 0 {
			text, t.partial = append(t.partial, text...), nil
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			t.log.Add(text)
		}
	}
}

// Writes returns all writes so far that choose accepts, as they are known now. The result is
// the caller's, but for the bodies.
func (t *Tail) Writes(choose func(*Write) bool) ([]Write, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read()
	var out []Write
	for _, w := range t.log.Writes {
		if choose(w) {
			out = append(out, *w)
		}
	}
	return out, t.err
}

// Torn is how many lines could not be read.
func (t *Tail) Torn() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.log.Torn
}

// Close stops following.
func (t *Tail) Close() error {
	t.cancel()
	t.group.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}
