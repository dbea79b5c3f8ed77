package segments

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// monthForm is a month in UTC; months compare as texts.
const monthForm = "2006-01"

// archive is a file before the newest.
type archive struct{ month, path string }

// ArchiveName is the name of the file of a month (2026-11) before the newest, whose path that
// is.
func ArchiveName(path, month string) string {
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + "-" + strings.ReplaceAll(month, "-", "") + ext
}

// Files are the names of all files of the ledger whose newest has that path, oldest first.
func Files(path string) ([]string, error) {
	archives, err := archivesOf(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, a := range archives {
		names = append(names, a.path)
	}
	return append(names, path), nil
}

// archivesOf are in the order of their months.
func archivesOf(path string) ([]archive, error) {
	dir, base := filepath.Split(path)
	ext := filepath.Ext(base)
	form := regexp.MustCompile("^" + regexp.QuoteMeta(strings.TrimSuffix(base, ext)) + `-(\d{4})(\d{2})` + regexp.QuoteMeta(ext) + "$")
	entries, err := os.ReadDir(filepath.Clean(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for older files of the ledger: %w", err)
	}
	var out []archive
	for _, e := range entries {
		if m := form.FindStringSubmatch(e.Name()); m != nil {
			out = append(out, archive{m[1] + "-" + m[2], filepath.Join(dir, e.Name())})
		}
	}
	slices.SortFunc(out, func(a, b archive) int { return strings.Compare(a.month, b.month) })
	return out, nil
}

// nextName is what a new file is called until it is complete.
func nextName(path string) string {
	dir, base := filepath.Split(path)
	return filepath.Join(dir, "."+base+".next")
}

func openArchive(path string, opts ledger.Options) (*ledger.Ledger, error) {
	opts.Ballast = 0
	file, err := ledger.OpenArchive(path, opts)
	if err != nil {
		return nil, fmt.Errorf("open the ledger's older files: %w", err)
	}
	return file, nil
}

// openNewest opens the file that is written. Where it is missing beside one that ended, it
// is made again.
func (s *Set) openNewest() (*ledger.Ledger, error) {
	_, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = s.restore()
	}
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", s.path, err)
	}
	file, err := ledger.Open(s.path, s.opts.Options)
	if err != nil {
		return nil, err
	}
	// Whoever had it open may have turned over while this waited for the lock.
	if info, err := os.Stat(s.path); err != nil || !file.Is(info) {
		return nil, errors.Join(fmt.Errorf("open ledger %s: %w: another process has turned it over meanwhile; start again", s.path, ledger.ErrLocked), err, file.Close())
	}
	return file, nil
}

// restore makes the newest file where there are older ones only.
func (s *Set) restore() error {
	archives, err := archivesOf(s.path)
	if err != nil || len(archives) == 0 {
		return err
	}
	last := archives[len(archives)-1]
	old, err := openArchive(last.path, s.opts.Options)
	if err != nil {
		return err
	}
	if err := removeNext(s.path); err != nil {
		return errors.Join(err, old.Close())
	}
	month := max(s.opts.Clock.Now().UTC().Format(monthForm), following(last.month))
	next, err := old.Continue(nextName(s.path), month)
	if err != nil {
		return errors.Join(fmt.Errorf("the file is missing, and %s does not end as a file that was followed by another does: %w", last.path, err), old.Close())
	}
	return errors.Join(old.Close(), next.Close(), os.Link(nextName(s.path), s.path), os.Remove(nextName(s.path)), syncDir(s.path))
}

func following(month string) string {
	t, err := time.Parse(monthForm, month)
	if err != nil {
		return ""
	}
	return t.AddDate(0, 1, 0).Format(monthForm)
}

// tidy undoes what is left of a turn that was cut off, and returns the files before the
// newest, which is locked.
func (s *Set) tidy() ([]archive, error) {
	if err := removeNext(s.path); err != nil {
		return nil, err
	}
	archives, err := archivesOf(s.path)
	if err != nil {
		return nil, err
	}
	newest, err := os.Stat(s.path)
	if err != nil {
		return nil, err
	}
	var out []archive
	for _, a := range archives {
		info, err := os.Stat(a.path)
		if err != nil {
			return nil, err
		}
		if os.SameFile(info, newest) {
			// It had its second name already, and the new file was not in place.
			if err := errors.Join(os.Remove(a.path), syncDir(s.path)); err != nil {
				return nil, err
			}
			continue
		}
		if info.Mode().Perm() != archiveMode {
			_ = os.Chmod(a.path, archiveMode) // on a volume that cannot, nothing writes it all the same
		}
		out = append(out, a)
	}
	return out, nil
}

const archiveMode = 0o400

// removeNext removes a new file that did not become one.
func removeNext(path string) error {
	name := nextName(path)
	dir, base := filepath.Split(name)
	left, err := filepath.Glob(filepath.Join(dir, "."+base+".new-*"))
	if err != nil {
		return err
	}
	for _, name := range append(left, name) {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove what a turn has left: %w", err)
		}
	}
	return nil
}

// syncDir makes the names in a file's folder durable.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// IsArchive tells whether a file is called as those before the newest are.
func IsArchive(path string) bool {
	return archiveForm.MatchString(strings.TrimSuffix(path, filepath.Ext(path)))
}

var archiveForm = regexp.MustCompile(`-\d{6}$`)
