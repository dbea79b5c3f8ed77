package host

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
)

const (
	folderPrefix = "ebbtide-lab-"
	// keptMark in a folder says that it is there to be read by a person.
	keptMark = "KEPT"
)

// Folder is where a lab keeps its keys, data and logs.
type Folder struct {
	// Path is absolute.
	Path   string
	remove bool
	hold   net.Listener // nil for a folder that the caller gave
}

// NewFolder makes a folder for one lab: dir if it is given, which is then never
// removed, a temporary one otherwise.
func NewFolder(dir string) (*Folder, error) {
	if dir != "" {
		return givenFolder(dir)
	}
	sweep()
	for {
		name := fmt.Sprintf("%s%08x", folderPrefix, rand.Uint32())
		hold, err := claim("folder/" + name)
		if err != nil {
			continue // another lab's
		}
		path := filepath.Join(os.TempDir(), name)
		err = os.Mkdir(path, 0o700)
		if errors.Is(err, fs.ErrExist) {
			hold.Close()
			continue
		}
		if err != nil {
			hold.Close()
			return nil, fmt.Errorf("make the lab's folder: %w", err)
		}
		return &Folder{Path: path, remove: true, hold: hold}, nil
	}
}

func givenFolder(dir string) (*Folder, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the lab's folder: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the lab's folder: %w", err)
	}
	return &Folder{Path: path}, nil
}

// Join returns a path inside the folder.
func (f *Folder) Join(elem ...string) string {
	return filepath.Join(append([]string{f.Path}, elem...)...)
}

// Write puts a file that only this user can read into the folder and
// returns its path.
func (f *Folder) Write(name string, text []byte) (string, error) {
	path := f.Join(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return path, nil
}

// Close removes a temporary folder, or marks it to be kept.
func (f *Folder) Close(keep bool) error {
	var err error
	switch {
	case keep:
		_, err = f.Write(keptMark, nil)
	case f.remove:
		err = os.RemoveAll(f.Path)
	}
	if f.hold != nil {
		err = errors.Join(err, f.hold.Close())
	}
	return err
}

// sweep removes the folders of labs whose process was killed before it could.
// It is a courtesy: what cannot be removed stays.
func sweep() {
	paths, err := filepath.Glob(filepath.Join(os.TempDir(), folderPrefix+"*"))
	if err != nil {
		return
	}
	for _, path := range paths {
		hold, err := claim("folder/" + filepath.Base(path))
		if err != nil {
			continue // its lab lives
		}
		if _, err := os.Stat(filepath.Join(path, keptMark)); errors.Is(err, fs.ErrNotExist) {
			_ = os.RemoveAll(path)
		}
		hold.Close()
	}
}
