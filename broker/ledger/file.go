package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const fileMode = 0o600

// lockPoll is how often a held lock is tried again.
const lockPoll = 20 * time.Millisecond

// errDamaged ends bbolt's opening of a file that has faults; the faults
// themselves are what the caller gets.
var errDamaged = errors.New("file has structural faults")

// openFile is a bbolt file that was locked, and found sound, before bbolt
// mapped it.
type openFile struct {
	db   *bolt.DB
	info os.FileInfo
}

// openParams are what Open, Check, Reindex and Recover want of the file.
type openParams struct {
	readOnly   bool
	timeout    time.Duration
	acceptLost bool
}

// openBolt opens an existing file. If the file is damaged it returns the faults
// and no error.
func openBolt(path string, p openParams) (openFile, []Fault, error) {
	var (
		out    openFile
		faults []Fault
	)
	db, err := bolt.Open(path, fileMode, &bolt.Options{
		Timeout:      p.timeout,
		ReadOnly:     p.readOnly,
		FreelistType: bolt.FreelistMapType,
		// The lock is taken here, not left to bbolt, since the pages must be checked
		// under it and before bbolt maps them. bbolt locks the same descriptor once
		// more, which succeeds at once.
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag&^os.O_CREATE, mode)
			if err != nil {
				return nil, err
			}
			out.info, faults, err = lockAndCheck(f, p)
			if err == nil && len(faults) > 0 {
				err = errDamaged
			}
			if err != nil {
				f.Close()
				return nil, err
			}
			return f, nil
		},
	})
	switch {
	case err == nil:
		out.db = db
		return out, nil, nil
	case errors.Is(err, errDamaged):
		return out, faults, nil
	case errors.Is(err, ErrLocked), errors.Is(err, bolterrors.ErrTimeout):
		return out, nil, fmt.Errorf("open ledger %s: %w: waited %s; another broker or ledger tool has it open: "+
			"stop that process first (fuser %s names it), or check a backup copy instead", path, ErrLocked, p.timeout, path)
	default:
		return out, nil, fmt.Errorf("open ledger %s: %w", path, err)
	}
}

func lockAndCheck(f *os.File, p openParams) (os.FileInfo, []Fault, error) {
	if err := lockFile(f, !p.readOnly, p.timeout); err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	return info, checkPages(f, info.Size(), p.acceptLost), nil
}

// create makes an empty ledger at path unless something is there already. The
// file gets its name only when it is complete and on disk: a crash leaves at
// most a file called .NAME.new-*, which may be deleted.
func create(path string, id identity) error {
	return install(path, "new", func(tmp string) error {
		db, err := bolt.Open(tmp, fileMode, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
		if err != nil {
			return err
		}
		err = db.Update(func(tx *bolt.Tx) error {
			for _, name := range append(sacredBuckets, derivedBuckets...) {
				if _, err := tx.CreateBucket(name); err != nil {
					return err
				}
			}
			meta := tx.Bucket(bucketMeta)
			if err := meta.Put(keyIdentity, id.encode()); err != nil {
				return err
			}
			if id.Born != id.Schema {
				if err := meta.Put(keyBorn, appendCRC(putU32(nil, id.Born))); err != nil {
					return err
				}
			}
			return meta.Put(keyHead, head{Seq: id.BaseSeq, Hash: id.baseHash()}.encode())
		})
		return errors.Join(err, db.Close())
	})
}

// install lets fill write a temporary file and then links it to path, so that
// path never names half a file, and never one that replaced another: if path
// exists the error is fs.ErrExist.
func install(path, what string, fill func(tmp string) error) error {
	dir, base := filepath.Split(filepath.Clean(path))
	if dir == "" {
		dir = "."
	}
	f, err := os.CreateTemp(dir, "."+base+"."+what+"-*")
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	tmp := f.Name()
	defer func() { _ = os.Remove(tmp) }()
	if err := errors.Join(f.Close(), fill(tmp), syncPath(tmp)); err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	// A link, unlike a rename, fails if the name is taken, so two processes that
	// start at once cannot replace each other's ledger.
	if err := os.Link(tmp, path); err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	if err := syncPath(dir); err != nil {
		return fmt.Errorf("sync directory of %s: %w", path, err)
	}
	return nil
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// createIfMissing leaves an existing file alone, whatever is in it: an empty one
// too, since a ledger is never empty.
func createIfMissing(path string, id identity) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := create(path, id); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
