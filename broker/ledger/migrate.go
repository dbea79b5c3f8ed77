package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

// migrateBatch is how many entries one transaction of a migration copies.
const migrateBatch = 20_000

// openCurrent opens a file for writing, and migrates one of an older schema first.
func openCurrent(path string, timeout time.Duration) (openFile, error) {
	for {
		file, faults, err := openBolt(path, openParams{timeout: timeout})
		if err != nil {
			return file, err
		}
		if len(faults) > 0 {
			report := &Report{Path: path}
			report.add(faults...)
			return file, report.Err()
		}
		old, err := isOld(file.db)
		if err == nil && old {
			err = migrate(path, file.db)
		}
		if err == nil && !old {
			return file, nil
		}
		if err = errors.Join(err, file.db.Close()); err != nil {
			return file, err
		}
	}
}

// isOld leaves it to the verification to say what is wrong with a file.
func isOld(db *bolt.DB) (old bool, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		if tx.Bucket(bucketMeta) == nil {
			return nil
		}
		id, err := readIdentity(tx)
		old = err == nil && id.Schema < schemaVersion
		return nil
	})
	return old, err
}

// OldName is what a file of an older schema is called after it was migrated.
func OldName(path string, schema uint32) string { return fmt.Sprintf("%s.schema%d", path, schema) }

// migrate brings the file of an older schema to this one: its log is copied as it is into a
// new file beside it, what follows from the log is derived anew, both must have the same
// head and balances, and the new file takes the name. The old one is kept as OldName. old
// stays locked meanwhile. A crash at any moment leaves the old file under one name at least,
// and the next start does the same again.
func migrate(path string, old *bolt.DB) error {
	before, err := checkOpen(path, old)
	if err != nil {
		return err
	}
	dir, base := filepath.Split(filepath.Clean(path))
	// Nobody else migrates it now: what lies there is of processes that were ended meanwhile,
	// each as large as the ledger.
	left, err := filepath.Glob(filepath.Join(dir, "."+base+".migrate-*"))
	if err != nil {
		return fmt.Errorf("migrate ledger %s: %w", path, err)
	}
	for _, name := range left {
		_ = os.Remove(name) // there may be room without
	}
	f, err := os.CreateTemp(dir, "."+base+".migrate-*")
	if err != nil {
		return fmt.Errorf("migrate ledger %s: %w", path, err)
	}
	tmp := f.Name()
	defer func() { _ = os.Remove(tmp) }()
	if err := errors.Join(f.Close(), copyLog(tmp, old, before), syncPath(tmp)); err != nil {
		return fmt.Errorf("migrate ledger %s: %w", path, err)
	}
	after, err := Check(tmp)
	if err != nil {
		return fmt.Errorf("migrate ledger %s: %w", path, err)
	}
	if err := agree(before, after); err != nil {
		return fmt.Errorf("migrate ledger %s: %w", path, err)
	}
	if err := keepOld(path, OldName(path, before.schema)); err != nil {
		return fmt.Errorf("migrate ledger %s: %w", path, err)
	}
	if err := errors.Join(os.Rename(tmp, path), syncPath(filepath.Dir(path))); err != nil {
		return fmt.Errorf("migrate ledger %s: %w", path, err)
	}
	return nil
}

func checkOpen(path string, db *bolt.DB) (*Report, error) {
	report := &Report{Path: path}
	if _, err := verifyAll(db, report); err != nil {
		return nil, fmt.Errorf("verify ledger %s: %w", path, err)
	}
	return report, report.Err()
}

// agree compares a file with the one that was made from it.
func agree(before, after *Report) error {
	if err := after.Err(); err != nil {
		return err
	}
	if before.HeadSeq != after.HeadSeq || before.HeadHash != after.HeadHash || before.Entries != after.Entries || before.ID != after.ID {
		return fmt.Errorf("%w: the new file ends with entry %d and hash %s, the old one with %d and %s",
			ErrCorrupt, after.HeadSeq, after.HeadHash, before.HeadSeq, before.HeadHash)
	}
	if fmt.Sprint(before.Balances) != fmt.Sprint(after.Balances) || len(before.OpenLoans) != len(after.OpenLoans) {
		return fmt.Errorf("%w: balances or open loans of the new file differ from those of the old one", ErrCorrupt)
	}
	return nil
}

// keepOld gives the old file its second name, unless a migration that was cut off did.
func keepOld(path, name string) error {
	err := os.Link(path, name)
	if !errors.Is(err, fs.ErrExist) {
		return errors.Join(err, syncPath(filepath.Dir(path)))
	}
	a, errA := os.Stat(path)
	b, errB := os.Stat(name)
	if errA == nil && errB == nil && os.SameFile(a, b) {
		return nil
	}
	return fmt.Errorf("%s is another file; put it elsewhere: %w", name, errors.Join(err, errA, errB))
}

// copyLog fills a new file from an old one. It syncs only at the end: until then nobody
// needs the new file.
func copyLog(tmp string, old *bolt.DB, report *Report) error {
	db, err := bolt.Open(tmp, fileMode, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType, NoSync: true, NoGrowSync: true})
	if err != nil {
		return err
	}
	err = old.View(func(from *bolt.Tx) error {
		if err := db.Update(func(to *bolt.Tx) error { return copyMeta(from, to) }); err != nil {
			return err
		}
		return copyEntries(from, db)
	})
	return errors.Join(err, db.Sync(), db.Close())
}

func copyMeta(from, to *bolt.Tx) error {
	for _, name := range append(sacredBuckets, derivedBuckets...) {
		if _, err := to.CreateBucket(name); err != nil {
			return err
		}
	}
	id, err := readIdentity(from)
	if err != nil {
		return err
	}
	id.Schema = schemaVersion
	return puts{tx: to}.all([]row{
		{bucketMeta, keyIdentity, id.encode()},
		{bucketMeta, keyBorn, appendCRC(putU32(nil, id.Born))},
		{bucketMeta, keyHead, from.Bucket(bucketMeta).Get(keyHead)},
	})
}

// copyEntries walks the old log, which was found sound, and copies it in batches.
func copyEntries(from *bolt.Tx, db *bolt.DB) error {
	report := &Report{}
	v := newVerifier(report)
	var to *bolt.Tx
	v.onEntry = func(e *Entry, c *change, p *parsed) error {
		into := puts{tx: to}
		return errors.Join(into.put(bucketLog, p.key, from.Bucket(bucketLog).Get(p.key)), into.index(v.state, e, c))
	}
	for done := false; !done; {
		err := db.Update(func(tx *bolt.Tx) error {
			to = tx
			if done = v.chunk(from, migrateBatch); !done || v.broken {
				return report.Err()
			}
			v.schema = schemaVersion // whose rows they are to be
			return puts{tx: to}.all(v.stateRows())
		})
		if err != nil {
			return err
		}
	}
	return nil
}
