package sample

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Checkpoint is a model as it was saved.
type Checkpoint struct {
	Model
	SavedAt time.Time `json:"savedAt"`
}

// ReadCheckpoint reads a file; found is false if there is none.
func ReadCheckpoint(path string) (c Checkpoint, found bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Checkpoint{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err == nil && (len(c.Weights) != features || c.Step < 0) {
		err = fmt.Errorf("%d weights at step %d, want %d weights", len(c.Weights), c.Step, features)
	}
	if err != nil {
		return Checkpoint{}, false, fmt.Errorf("read checkpoint %s: %w", path, err)
	}
	return c, true, nil
}

// resume returns the model to go on with: that of the checkpoint, or a new one.
func resume(path string, seed uint64) (*Model, error) {
	c, found, err := ReadCheckpoint(path)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return NewModel(seed), nil
	case c.Seed != seed:
		return nil, fmt.Errorf("resume from %s: it is of seed %d, not %d", path, c.Seed, seed)
	}
	return &c.Model, nil
}

// writeWhole replaces a file: at any time, even if the machine fails, the path names
// the old contents or the new. Its folder is made if there is none.
func writeWhole(path string, content any) (err error) {
	text, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// What an earlier run left half-done is written over.
	partial := path + ".partial"
	if err := writeThrough(partial, append(text, '\n')); err != nil {
		return err
	}
	if err := os.Rename(partial, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncFolder(folder)
}

func writeThrough(path string, text []byte) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open folder %s: %w", path, err)
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return fmt.Errorf("write folder %s: %w", path, err)
	}
	return nil
}
