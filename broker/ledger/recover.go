package ledger

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// ErrNothingToRecover: both header pages are sound, so Recover has nothing to do.
var ErrNothingToRecover = errors.New("nothing to recover: both header pages are sound")

// Recover makes a file usable of which one of two header pages is damaged, by
// writing that page again from the other one. The file then ends with the last
// entry that the sound page knows, and the entry after it is lost if there was
// one: each entry is one transaction, and the two pages are of consecutive ones.
// known is the highest sequence number known elsewhere; if the file would end
// below it the error is ErrCorrupt. After any error the file is as it was. It
// cures no other damage, and needs the file for itself (ErrLocked).
func Recover(path string, known uint64) (*Report, error) {
	before, err := Check(path)
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	if before.OK() {
		return nil, fmt.Errorf("recover ledger %s: %w", path, ErrNothingToRecover)
	}
	if err := before.Err(); !errors.Is(err, errLostHeader) {
		return before, err
	}
	file, faults, err := openBolt(path, openParams{timeout: DefaultTimeout, acceptLost: true})
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	report := &Report{Path: path, Bytes: before.Bytes}
	report.add(faults...)
	if len(faults) > 0 {
		return report, report.Err()
	}
	err = rewriteHeader(file.db, report, known)
	if err = errors.Join(err, file.db.Close()); err != nil {
		return report, fmt.Errorf("recover: %w", err)
	}
	return Check(path)
}

func rewriteHeader(db *bolt.DB, report *Report, known uint64) error {
	if _, err := verifyAll(db, report); err != nil {
		return fmt.Errorf("verify ledger %s: %w", report.Path, err)
	}
	if err := report.Err(); err != nil {
		return err
	}
	if report.HeadSeq < known {
		return fmt.Errorf("ledger %s: %w: entry %d is known elsewhere, and without the lost header the file ends with entry %d; %s",
			report.Path, ErrCorrupt, known, report.HeadSeq, adviceRestore)
	}
	// Every transaction, an empty one too, writes the header page that is not the
	// newest sound one.
	return db.Update(func(*bolt.Tx) error { return nil })
}
