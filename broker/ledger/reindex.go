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
	v := newVerifier(report)
	if !v.start(tx) {
		return report.Err()
	}
	for _, name := range derivedOf(v.schema) {
		if tx.Bucket(name) != nil {
			if err := tx.DeleteBucket(name); err != nil {
				return fmt.Errorf("empty bucket %s: %w", name, err)
			}
		}
		if _, err := tx.CreateBucket(name); err != nil {
			return fmt.Errorf("create bucket %s: %w", name, err)
		}
	}
	v.onEntry = func(e *Entry, c *change, _ *parsed) error {
		if v.schema == 1 {
			return (puts{tx: tx}).all(indexRows1(e, c.loanState))
		}
		return puts{tx: tx}.index(v.state, e, c)
	}
	for !v.chunk(tx, scanChunk) {
	}
	if !v.broken {
		if err := (puts{tx: tx}).all(v.stateRows()); err != nil {
			return err
		}
	}
	v.finish(tx)
	return report.Err()
}
