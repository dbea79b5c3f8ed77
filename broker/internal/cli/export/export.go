// Package export writes the ledger's entries for other tools: as JSON lines, which verify
// against the ledger's head, as CSV for people with spreadsheets, and as Parquet.
//
// It promises that an entry is written as soon as it is given, or, as Parquet, with a
// bounded number of others, so that a history of any length can be exported; that a file
// appears under its name whole and on disk, or not at all; that Parquet has all of an entry;
// and that no cell of a CSV file is a formula. It asks nobody for anything.
package export

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Writer takes entries in their order.
type Writer interface {
	// Write takes an entry as the broker sent it.
	Write(entry json.RawMessage) error
	// Close writes what is still held back. It does not close what is written to.
	Close() error
}

var formats = map[string]func(io.Writer) Writer{"jsonl": newLines, "csv": newSheet, "parquet": newColumns}

// Formats are the names that New knows, for people.
func Formats() []string { return []string{"jsonl", "csv", "parquet"} }

// CheckFormat says whether New knows the format.
func CheckFormat(format string) error {
	if !slices.Contains(Formats(), format) {
		return fmt.Errorf("--format: %q is not one of %s", format, strings.Join(Formats(), ", "))
	}
	return nil
}

// New writes entries to w.
func New(w io.Writer, format string) (Writer, error) {
	if err := CheckFormat(format); err != nil {
		return nil, err
	}
	return formats[format](w), nil
}

// lines has an entry on each line, byte for byte.
type lines struct{ w *bufio.Writer }

func newLines(w io.Writer) Writer { return &lines{bufio.NewWriter(w)} }

func (l *lines) Write(entry json.RawMessage) error {
	_, err := l.w.Write(entry)
	if err == nil {
		err = l.w.WriteByte('\n')
	}
	return err
}

func (l *lines) Close() error { return l.w.Flush() }

// CheckFile says whether File could make a file of this name now, so that nobody works for
// what cannot be written. It leaves nothing behind.
func CheckFile(path string) error {
	f, err := beside(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// beside makes a file in the folder of another, whose place it can take.
func beside(path string) (*os.File, error) {
	switch info, err := os.Stat(path); {
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("create %s: is a folder", path)
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("create %s: is a device or the like, which a file would replace", path)
	}
	dir, base := filepath.Split(filepath.Clean(path))
	f, err := os.CreateTemp(filepath.Clean(dir), "."+base+".*")
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, cause(err))
	}
	return f, nil
}

// cause is what was wrong with a file, without its name.
func cause(err error) error {
	var of *os.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// File gives write a file that gets the name when write is done without an error and all is
// on disk. Until then, and after an error, the name has what it had before.
func File(path string, write func(io.Writer) error) (err error) {
	f, err := beside(path)
	if err != nil {
		return err
	}
	tmp := f.Name()
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return syncDir(filepath.Dir(filepath.Clean(path)))
}

// syncDir makes the new name durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
