package ledger

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Reindex rebuilds the indexes, the open loans and the balances from the log, in
// one transaction: after an error the file is as it was. It needs the file for
// itself (ErrLocked) and a sound log: it repairs ErrDerived and nothing else.
func Reindex(path string) (*Report, error) {
	file, faults, err := openBolt(path, openParams{timeout: DefaultTimeout})
	if err != nil {
		return nil, err
	}
	report := &Report{Path: path, Bytes: file.info.Size()}
	report.add(faults...)
	if len(faults) > 0 {
		return report, report.Err()
	}
	err = file.db.Update(func(tx *bolt.Tx) error { return rebuild(tx, report) })
	if err = errors.Join(err, file.db.Close()); err != nil {
		return report, fmt.Errorf("reindex: %w", err)
	}
	return report, nil
}

func rebuild(tx *bolt.Tx, report *Report) error {
	for _, name := range derivedBuckets {
		if tx.Bucket(name) != nil {
			if err := tx.DeleteBucket(name); err != nil {
				return fmt.Errorf("empty bucket %s: %w", name, err)
			}
		}
		if _, err := tx.CreateBucket(name); err != nil {
			return fmt.Errorf("create bucket %s: %w", name, err)
		}
	}
	v := newVerifier(report)
	v.onEntry = func(e *Entry, after LoanState) error { return putRows(tx, indexRows(e, after)) }
	for !v.chunk(tx, scanChunk) {
	}
	if !v.broken && v.state != nil {
		if err := putRows(tx, v.stateRows()); err != nil {
			return err
		}
	}
	v.finish(tx)
	return report.Err()
}

func putRows(tx *bolt.Tx, rows []row) error {
	for _, r := range rows {
		if err := tx.Bucket(r.bucket).Put(r.key, r.value); err != nil {
			return fmt.Errorf("put into bucket %s: %w", r.bucket, err)
		}
	}
	return nil
}
