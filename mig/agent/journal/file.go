package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Names of the files in the journal's folder.
const (
	fileName  = "journal"
	lockName  = "lock"
	adoptName = "adopt"
)

// header is the first line: it says what the rest must be.
const header = "ebbtide-agent journal 1 %d %x\n"

var (
	// ErrCorrupt: the journal is not as it was written.
	ErrCorrupt = errors.New("the journal is corrupt")
	// ErrLocked: another program has the journal.
	ErrLocked = errors.New("the journal is another program's")
	// ErrOtherNode: the journal is of another node.
	ErrOtherNode = errors.New("the journal is another node's")
)

// Journal is the file with the State. It is for one goroutine at a time.
type Journal struct {
	// State is what was read, and what Save writes.
	State *State
	// New: there was no journal.
	New bool

	folder string
	lock   *os.File
	last   []byte
}

// Open takes the journal of a node in a folder, which it makes if it is absent. With
// ErrCorrupt the journal is locked, and returned without a State: Close it.
func Open(folder, node string) (*Journal, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the journal's folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(folder, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the journal's lock: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock %s: %w: %w", folder, ErrLocked, err)
	}
	j := &Journal{folder: folder, lock: lock}
	content, err := os.ReadFile(j.path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		j.New, j.State = true, &State{Node: node}
		return j, nil
	case err != nil:
		return j, fmt.Errorf("read the journal: %w: %w", ErrCorrupt, err)
	}
	state, err := decode(content)
	if err != nil {
		return j, fmt.Errorf("read %s: %w: %w", j.path(), ErrCorrupt, err)
	}
	if state.Node != node {
		return j, fmt.Errorf("%s is of node %s: %w: %w", j.path(), state.Node, ErrCorrupt, ErrOtherNode)
	}
	j.State, j.last = state, content
	return j, nil
}

// Save writes the State, so that it is there after a crash. Nothing may be done to a
// GPU that a Save which failed was to write down.
func (j *Journal) Save() error {
	content, err := encode(j.State)
	if err != nil {
		return err
	}
	if bytes.Equal(content, j.last) {
		return nil
	}
	if err := j.write(content); err != nil {
		j.last = nil // what is there now is not known
		return fmt.Errorf("write the journal: %w", err)
	}
	j.last, j.New = content, false
	return nil
}

// AskToAdopt asks the agent whose journal is in a folder to take foreign instances for its
// own from now on.
func AskToAdopt(folder string) error {
	f, err := os.OpenFile(filepath.Join(folder, adoptName), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	return f.Close()
}

// AskedToAdopt reports whether AskToAdopt was called since Adopted.
func (j *Journal) AskedToAdopt() bool {
	_, err := os.Stat(filepath.Join(j.folder, adoptName))
	return err == nil
}

// Adopted answers what was asked.
func (j *Journal) Adopted() error {
	if err := os.Remove(filepath.Join(j.folder, adoptName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget that foreign instances were to be adopted: %w", err)
	}
	return nil
}

// Close gives the journal back.
func (j *Journal) Close() error {
	if err := j.lock.Close(); err != nil {
		return fmt.Errorf("unlock the journal: %w", err)
	}
	return nil
}

func (j *Journal) path() string { return filepath.Join(j.folder, fileName) }

// write replaces the file in one go: the old content or the new is there, on the disk.
func (j *Journal) write(content []byte) error {
	fresh := j.path() + ".new"
	f, err := os.OpenFile(fresh, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(fresh, j.path()); err != nil {
		return err
	}
	folder, err := os.Open(j.folder)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

func encode(s *State) ([]byte, error) {
	body, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encode the journal: %w", err)
	}
	return append(fmt.Appendf(nil, header, len(body), sha256.Sum256(body)), body...), nil
}

func decode(content []byte) (*State, error) {
	first, body, ok := bytes.Cut(content, []byte("\n"))
	if !ok {
		return nil, errors.New("it has no first line")
	}
	if want := fmt.Sprintf(header, len(body), sha256.Sum256(body)); string(first)+"\n" != want {
		return nil, errors.New("its checksum or version is another")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	s := &State{}
	if err := decoder.Decode(s); err != nil {
		return nil, fmt.Errorf("decode it: %w", err)
	}
	return s, nil
}
