package report

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// firstRun is the page of the results' folder that no experiment writes: what somebody
// found who tried.
const firstRun = "first-run.md"

// Files are what is published, by name.
type Files map[string][]byte

// names in order.
func (f Files) names() []string {
	names := make([]string, 0, len(f))
	for name := range f {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Write puts the files into a folder, and removes what else is there of the kinds that it
// writes: pages, figures and results.json. The page about a first run stays.
func (f Files) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the folder of results: %w", err)
	}
	stale, err := f.stale(dir)
	if err != nil {
		return err
	}
	for _, name := range stale {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("removing what is no result any more: %w", err)
		}
	}
	for _, name := range f.names() {
		if err := os.WriteFile(filepath.Join(dir, name), f[name], 0o644); err != nil {
			return fmt.Errorf("writing results: %w", err)
		}
	}
	return nil
}

// Compare returns an error for each file of a folder that is not as computed.
func (f Files) Compare(dir string) error {
	var found []error
	for _, name := range f.names() {
		kept, err := os.ReadFile(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			found = append(found, fmt.Errorf("%s: is missing", name))
		case err != nil:
			found = append(found, fmt.Errorf("reading results: %w", err))
		case !bytes.Equal(kept, f[name]):
			found = append(found, fmt.Errorf("%s: differs from what was computed, first in line %d", name, differs(kept, f[name])))
		}
	}
	stale, err := f.stale(dir)
	if err != nil {
		found = append(found, err)
	}
	for _, name := range stale {
		found = append(found, fmt.Errorf("%s: nothing computes it", name))
	}
	return errors.Join(found...)
}

// stale are the files of a folder that look like results and are none.
func (f Files) stale(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the folder of results: %w", err)
	}
	var stale []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".md", ".svg", ".json":
			if _, ok := f[e.Name()]; !ok && e.Name() != firstRun {
				stale = append(stale, e.Name())
			}
		}
	}
	return stale, nil
}

// differs is the first line that is not the same.
func differs(a, b []byte) int {
	x, y := bytes.Split(a, []byte("\n")), bytes.Split(b, []byte("\n"))
	for i := range min(len(x), len(y)) {
		if !bytes.Equal(x[i], y[i]) {
			return i + 1
		}
	}
	return min(len(x), len(y)) + 1
}
