package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

// Files are a broker's two: its ledger, and the copy of another's. Each is the newest file of
// a ledger, beside which are those of the months before.
type Files struct {
	Own, Copy string
}

// FilesOf are those beside a ledger.
func FilesOf(own string) Files {
	return Files{Own: own, Copy: filepath.Join(filepath.Dir(own), "replica.db")}
}

// Promote makes the copy the broker's ledger if it is the newer of the two, and tells so. The
// newer one is that which has the published head; if both or none have it, that of the
// higher epoch, or with more entries. The other one is kept aside. Nothing may have either
// open. Each is verified first, and a damaged copy does not take a sound file's place.
//
// A crash at any moment leaves both, under names by which the next Promote does the same.
func (f Files) Promote(head published.Head, opts segments.Options) (promoted bool, err error) {
	if err := f.settle(); err != nil {
		return false, err
	}
	mirror, err := look(f.Copy, head, opts)
	if err != nil || !mirror.there {
		return false, err
	}
	own, err := look(f.Own, head, opts)
	if err != nil {
		return false, err
	}
	switch {
	case mirror.damage != nil && (!own.there || own.damage != nil):
		return false, fmt.Errorf("the copy of the ledger: %w", mirror.damage)
	case mirror.damage != nil || own.there && own.damage == nil && !mirror.newer(&own):
		_, err := f.aside(f.Copy, mirror.seq, mirror.hash)
		return false, err
	}
	if own.there {
		_, err = f.aside(f.Own, own.seq, own.hash)
	} else {
		err = f.clear()
	}
	if err == nil {
		err = move(f.Copy, f.Own)
	}
	return err == nil, err
}

// clear puts months of the broker's own ledger aside whose newest file a crash has left
// without them, so that the copy's can have their names.
func (f Files) clear() error {
	months, err := monthsOf(f.Own)
	if err != nil {
		return err
	}
	for name, month := range months {
		if same(name, segments.ArchiveName(f.Copy, month)) {
			continue // it has the name already
		}
		if _, err := keep(name, name+".aside"); err != nil {
			return err
		}
	}
	return nil
}

// found is what a file holds.
type found struct {
	there bool
	// damage is why it is no sound ledger.
	damage error
	has    bool // what was published
	epoch  int64
	seq    uint64
	hash   ledger.Hash
}

func (a *found) newer(b *found) bool {
	switch {
	case a.has != b.has:
		return a.has
	case a.epoch != b.epoch:
		return a.epoch > b.epoch
	}
	return a.seq > b.seq
}

// look verifies a file.
func look(path string, head published.Head, opts segments.Options) (f found, err error) {
	book, err := openIfThere(path, opts)
	switch {
	case damaged(err):
		return found{there: true, damage: err}, nil
	case err != nil || book == nil:
		return f, err
	}
	defer func() { err = errors.Join(err, book.Close()) }()
	f.there, f.epoch = true, book.Epoch()
	f.seq, f.hash = book.Head()
	missing, err := published.Compare(book, head)
	f.has = missing == nil
	return f, err
}

// damaged tells whether that is what is wrong with a file.
func damaged(err error) bool {
	return errors.Is(err, ledger.ErrCorrupt) || errors.Is(err, ledger.ErrTruncated) || errors.Is(err, ledger.ErrDerived)
}

// openIfThere opens a ledger; nil: there is no file.
func openIfThere(path string, opts segments.Options) (*segments.Set, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("find %s: %w", path, err)
	}
	return segments.Open(path, opts)
}

// settle ends what a crash has left: names that a file has beside its new one, and months of
// a copy whose newest file is gone.
func (f Files) settle() error {
	if same(f.Copy, f.Own) {
		return move(f.Copy, f.Own)
	}
	if _, err := os.Stat(f.Copy); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	months, err := monthsOf(f.Copy)
	if err != nil {
		return err
	}
	for name, month := range months {
		to := segments.ArchiveName(f.Own, month)
		if same(name, to) {
			err = drop(name)
		} else {
			_, err = keep(name, to+".aside")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// monthsOf are the files before the newest, with the month of each.
func monthsOf(newest string) (map[string]string, error) {
	names, err := segments.Files(newest)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, name := range names[:len(names)-1] {
		digits := name[len(name)-len(filepath.Ext(name))-6:][:6]
		out[name] = digits[:4] + "-" + digits[4:]
	}
	return out, nil
}

// aside gives a ledger's files names beside the broker's own that say where it ends, and
// returns that of the newest.
func (f Files) aside(newest string, seq uint64, hash ledger.Hash) (string, error) {
	end := fmt.Sprintf(".aside-%d-%s", seq, hash.String()[:12])
	months, err := monthsOf(newest)
	if err != nil {
		return "", err
	}
	kept, err := keep(newest, f.Own+end)
	for name, month := range months {
		_, e := keep(name, segments.ArchiveName(f.Own, month)+end)
		err = errors.Join(err, e)
	}
	return kept, err
}

// keep gives a file another name: this one, or if it is taken one with a number.
func keep(path, name string) (string, error) {
	for n, to := 2, name; ; n++ {
		// A link, unlike a rename, takes nobody else's place.
		err := os.Link(path, to)
		switch {
		case err == nil, same(path, to): // or a crash came between the two names
			return to, drop(path)
		case !errors.Is(err, fs.ErrExist) || n > 1000:
			return "", fmt.Errorf("put %s aside: %w", path, err)
		}
		to = fmt.Sprintf("%s.%d", name, n)
	}
}

// move gives a ledger's files the names of another's, which must be free. All have their new
// names before the first loses its old one.
func move(from, to string) error {
	months, err := monthsOf(from)
	if err != nil {
		return err
	}
	for name, month := range months {
		if err := link(name, segments.ArchiveName(to, month)); err != nil {
			return err
		}
	}
	if err := link(from, to); err != nil {
		return err
	}
	err = drop(from)
	for name := range months {
		err = errors.Join(err, drop(name))
	}
	return err
}

func link(from, to string) error {
	if err := os.Link(from, to); err != nil && !same(from, to) {
		return fmt.Errorf("rename %s: %w", from, err)
	}
	return nil
}

// drop takes a name from a file that has another, when that is on disk.
func drop(name string) error {
	return errors.Join(syncFolder(name), os.Remove(name), syncFolder(name))
}

func same(a, b string) bool {
	one, errA := os.Stat(a)
	two, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(one, two)
}

func syncFolder(of string) error {
	folder, err := os.Open(filepath.Dir(of))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
