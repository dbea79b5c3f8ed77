package ledger

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// One page of a read: few enough entries that its transaction is short.
const (
	MaxPage      = 1000
	maxPageBytes = 8 << 20
)

// page collects entries until it is full.
type page struct {
	entries []Entry
	limit   int
	bytes   int
}

func newPage(limit int) *page {
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	return &page{limit: limit}
}

// add takes the entry; it tells whether there is room for another.
func (p *page) add(e Entry, size int) bool {
	p.entries = append(p.entries, e)
	p.bytes += size
	return len(p.entries) < p.limit && p.bytes < maxPageBytes
}

// view runs a read transaction. It must be short.
func (l *Ledger) view(fn func(*bolt.Tx) error) error {
	l.mu.RLock()
	failed := l.failed
	l.mu.RUnlock()
	if failed != nil {
		return failed
	}
	err := l.db.View(fn)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

// Read returns up to limit entries (0: MaxPage, which is also the most) with Seq
// at or above from. It may return fewer than there are if they are large; the
// end is reached when it returns none. Each entry's checksum is verified.
func (l *Ledger) Read(from uint64, limit int) ([]Entry, error) {
	p := newPage(limit)
	err := l.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketLog).Cursor()
		for k, raw := c.Seek(seqKey(from)); k != nil; k, raw = c.Next() {
			e, err := decodeAt(binary.BigEndian.Uint64(k), raw)
			if err != nil {
				return err
			}
			if !p.add(e, len(raw)) {
				break
			}
		}
		return nil
	})
	return p.entries, err
}

// ByLoan returns the entries of one loan (namespace/name), at most MaxPage.
func (l *Ledger) ByLoan(loan string) ([]Entry, error) {
	return l.byName(bucketLoan, loan, 0, MaxPage)
}

// ByTenant is Read for the entries whose Borrower is the tenant, or whose loan has units
// of a lender of its.
func (l *Ledger) ByTenant(tenant string, from uint64, limit int) ([]Entry, error) {
	return l.byName(bucketTenant, tenant, from, limit)
}

func (l *Ledger) byName(bucket []byte, name string, from uint64, limit int) ([]Entry, error) {
	p := newPage(limit)
	err := l.view(func(tx *bolt.Tx) error {
		return numbers(tx.Bucket(bucket), name, from, func(seq uint64) (bool, error) {
			e, err := readRecord(tx, seq)
			if err != nil {
				return false, err
			}
			return p.add(e, len(e.Message)+len(e.Payload)), nil
		})
	})
	return p.entries, err
}

// Export writes the entries from a sequence number to the head as JSON, one on a
// line, and returns how many. A line holds all of an entry: encoded again it has
// the same hash, so a copy can be verified against the head. No transaction is
// open while w is written to; entries appended meanwhile may be included.
func (l *Ledger) Export(w io.Writer, from uint64) (int, error) { return ExportPages(w, from, l.Read) }

// ExportPages is Export of whatever is read by pages, as Read does it: of a ledger in several
// files, too.
func ExportPages(w io.Writer, from uint64, read func(from uint64, limit int) ([]Entry, error)) (int, error) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	n := 0
	for {
		entries, err := read(from, MaxPage)
		if err != nil {
			return n, fmt.Errorf("export from %d: %w", from, err)
		}
		if len(entries) == 0 {
			return n, nil
		}
		for i := range entries {
			if err := enc.Encode(&entries[i]); err != nil {
				return n, fmt.Errorf("export entry %d: %w", entries[i].Seq, err)
			}
			n++
		}
		from = entries[len(entries)-1].Seq + 1
	}
}

// Backup writes a copy of the ledger to a new file at path (fs.ErrExist if there
// is one), on a local disk, and checks it before it gets that name. Appends go
// on meanwhile, but one that makes the file grow waits for the copy to end.
func (l *Ledger) Backup(path string) (*Report, error) {
	var report *Report
	err := install(path, "backup", func(tmp string) error {
		err := l.view(func(tx *bolt.Tx) error { return copyTo(tx, tmp) })
		if err != nil {
			return err
		}
		if report, err = Check(tmp); err != nil {
			return err
		}
		report.Path = path
		return report.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("back up ledger %s: %w", l.path, err)
	}
	return report, nil
}

func copyTo(tx *bolt.Tx, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = tx.WriteTo(f)
	if err == nil && tx.ID()%2 == 1 {
		err = swapHeaders(f, int64(tx.DB().Info().PageSize))
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// swapHeaders exchanges what is in the two header pages. bbolt writes that of the newest
// transaction into the first, and the next odd transaction expects it in the second: with
// one more transaction the file would look as if one had been lost.
func swapHeaders(f *os.File, size int64) error {
	const pageHead = 16 // has the page's number
	both := make([]byte, 2*size)
	if _, err := f.ReadAt(both, 0); err != nil {
		return err
	}
	if _, err := f.WriteAt(both[size+pageHead:], pageHead); err != nil {
		return err
	}
	_, err := f.WriteAt(both[pageHead:size], size+pageHead)
	return err
}
