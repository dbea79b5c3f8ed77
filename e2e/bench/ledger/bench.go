// Package ledger measures what the broker's books cost: how fast entries become durable,
// against a bare bbolt that writes the very same rows without any rule, how long it takes to
// verify a million of them, how much room they need, and how long a month's statement takes.
package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// Config says what is measured.
type Config struct {
	// Appends are written one by one, by the ledger and by bare bbolt in turns of Turn.
	Appends, Turn int
	// Records are verified, and Rounds is how often: the quickest counts.
	Records, Rounds int
	// Dir is where the files lie; empty is a temporary folder.
	Dir string
	// Out gets the table and the line of JSON.
	Out io.Writer
}

// Default is what `make bench-ledger` measures.
func Default() Config { return Config{Appends: 4000, Turn: 50, Records: 1_000_000, Rounds: 3} }

// Validate returns what is wrong with the configuration, or nil.
func (c Config) Validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{{"appends", c.Appends}, {"turn", c.Turn}, {"records", c.Records}, {"rounds", c.Rounds}} {
		if f.value < 1 {
			return fmt.Errorf("%s: %d is not at least 1", f.name, f.value)
		}
	}
	return nil
}

// Result is the last line. Times of other numbers of records than a million are scaled.
type Result struct {
	AppendsPerSecond      float64 `json:"appendsPerSecond"`
	RawPerSecond          float64 `json:"rawBboltUpdatesPerSecond"`
	Ratio                 float64 `json:"ratio"`
	VerifySeconds         float64 `json:"verifyMillionSeconds"`
	BytesPerRecord        float64 `json:"bytesPerRecord"`
	StatementMilliseconds float64 `json:"statementMillionMilliseconds"`

	// verifyCPU is what VerifySeconds took of all processors: it tells a slow check from a
	// busy machine.
	verifyCPU float64
}

// Run measures, and prints the line.
func Run(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(c.Dir, "bench-ledger")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	result, err := Measure(c, dir)
	if err != nil {
		return err
	}
	line, err := json.Marshal(result)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.Out, string(line))
	return err
}

// Measure makes its files in dir.
func Measure(c Config, dir string) (Result, error) {
	var r Result
	if err := appends(c, dir, &r); err != nil {
		return r, fmt.Errorf("measure appends: %w", err)
	}
	if err := million(c, filepath.Join(dir, "million.db"), &r); err != nil {
		return r, fmt.Errorf("measure %d records: %w", c.Records, err)
	}
	return r, nil
}

// put is one row that the ledger wrote.
type put struct{ bucket, key, value []byte }

// appends lets the ledger and bare bbolt write the same rows, in turns, so that both have
// the same disk.
func appends(c Config, dir string, r *Result) error {
	var rows []put
	book, err := ledger.Open(filepath.Join(dir, "appends.db"), ledger.Options{Trace: func(bucket, key, value []byte) {
		rows = append(rows, put{bytes.Clone(bucket), bytes.Clone(key), bytes.Clone(value)})
	}})
	if err != nil {
		return err
	}
	defer func() { _ = book.Close() }()
	bare, err := bbolt.Open(filepath.Join(dir, "bare.db"), 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	defer func() { _ = bare.Close() }()
	var ours, theirs time.Duration
	h := newHistory(c.Appends)
	for done := 0; done < c.Appends; {
		var batch [][]put
		turn := min(c.Turn, c.Appends-done)
		entries := make([]ledger.Entry, turn)
		for i := range entries {
			entries[i] = h.next()
		}
		start := time.Now()
		for i := range entries {
			rows = nil
			if _, err := book.Append(entries[i]); err != nil {
				return err
			}
			batch = append(batch, rows)
		}
		ours += time.Since(start)
		start = time.Now()
		for _, rows := range batch {
			if err := bare.Update(func(tx *bbolt.Tx) error { return write(tx, rows) }); err != nil {
				return err
			}
		}
		theirs += time.Since(start)
		done += turn
	}
	r.AppendsPerSecond = float64(c.Appends) / ours.Seconds()
	r.RawPerSecond = float64(c.Appends) / theirs.Seconds()
	r.Ratio = r.AppendsPerSecond / r.RawPerSecond
	_, err = fmt.Fprintf(c.Out, "%d appends in %s, bare bbolt with the same rows in %s\n", c.Appends, ours.Round(time.Millisecond), theirs.Round(time.Millisecond))
	return err
}

// write does to bare bbolt what the ledger did to its own.
func write(tx *bbolt.Tx, rows []put) error {
	for _, row := range rows {
		b, err := tx.CreateBucketIfNotExists(row.bucket)
		if err != nil {
			return err
		}
		if string(row.bucket) == "log" {
			b.FillPercent = 1
		}
		if row.value == nil {
			err = b.Delete(row.key)
		} else {
			err = b.Put(row.key, row.value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// batch is how many records are written at once where their number matters, and not how
// they came there.
const batch = 500

// million fills a ledger and measures what needs many records.
func million(c Config, path string, r *Result) error {
	if err := fill(c, path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	scale := 1e6 / float64(c.Records)
	r.BytesPerRecord = float64(info.Size()) / float64(c.Records)
	for range c.Rounds {
		if err := verify(c, path, scale, r); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(c.Out, "%d records: %d bytes, verified in %.2f s with %.2f s of processor time, statements in up to %.2f ms\n",
		c.Records, info.Size(), r.VerifySeconds/scale, r.verifyCPU/scale, r.StatementMilliseconds/scale)
	return err
}

func fill(c Config, path string) error {
	book, err := ledger.Open(path, ledger.Options{})
	if err != nil {
		return err
	}
	h := newHistory(c.Records)
	for done := 0; done < c.Records && err == nil; {
		entries := make([]ledger.Entry, min(batch, c.Records-done))
		for i := range entries {
			entries[i] = h.next()
		}
		_, err = book.AppendAll(entries)
		done += len(entries)
	}
	return errors.Join(err, book.Close())
}

// processorTime is what this process has used, in seconds.
func processorTime() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

// verify opens the ledger, which verifies all of it, and asks for everybody's statement.
func verify(c Config, path string, scale float64, r *Result) error {
	start, used := time.Now(), processorTime()
	book, err := ledger.Open(path, ledger.Options{})
	if err != nil {
		return err
	}
	took := time.Since(start).Seconds() * scale
	if r.VerifySeconds == 0 || took < r.VerifySeconds {
		r.VerifySeconds = took
	}
	if used = (processorTime() - used) * scale; r.verifyCPU == 0 || used < r.verifyCPU {
		r.verifyCPU = used
	}
	var slowest time.Duration
	rows := 0
	for i := range tenants {
		start := time.Now()
		totals, err := book.Totals(month, fmt.Sprintf("team-%02d", i))
		if err != nil {
			return errors.Join(err, book.Close())
		}
		slowest, rows = max(slowest, time.Since(start)), rows+len(totals)
	}
	if ms := slowest.Seconds() * 1000 * scale; r.StatementMilliseconds == 0 || ms < r.StatementMilliseconds {
		r.StatementMilliseconds = ms
	}
	if rows == 0 {
		err = errors.New("the statements have no rows")
	}
	return errors.Join(err, book.Close())
}
