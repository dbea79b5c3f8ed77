package writer

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// Request asks for a file to be opened, on a line of JSON.
type Request struct {
	File string `json:"file"`
	// From and Until are work to be written then, again where it is there; 0: none.
	From  uint64 `json:"from,omitempty"`
	Until uint64 `json:"until,omitempty"`
	// Forget writes it under operations of other names, as nobody should.
	Forget bool `json:"forget,omitempty"`
}

// Answer says what a file holds.
type Answer struct {
	// Refused is why the file was not opened, or was closed again; empty if it was not.
	Refused string `json:"refused,omitempty"`
	// Failed is what could not be written.
	Failed string `json:"failed,omitempty"`
	// Seq and Hash are the head as it was opened, and Content is a digest of all that the
	// ledger serves.
	Seq     uint64 `json:"seq"`
	Hash    string `json:"hash,omitempty"`
	Content string `json:"content,omitempty"`
}

// open answers requests until there are none.
func open(in io.Reader, out, errs io.Writer, bare bool) int {
	lines := bufio.NewScanner(in)
	enc := json.NewEncoder(out)
	for lines.Scan() {
		var r Request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			fmt.Fprintln(errs, err)
			return ExitUsage
		}
		answer := r.ledger
		if bare {
			answer = r.bbolt
		}
		if err := enc.Encode(answer()); err != nil {
			return ExitUsage
		}
	}
	return 0
}

// ledger opens the file as the broker does.
func (r Request) ledger() Answer {
	l, err := ledger.Open(r.File, ledger.Options{})
	if err != nil {
		return Answer{Refused: err.Error()}
	}
	defer func() { _ = l.Close() }()
	seq, hash := l.Head()
	a := Answer{Seq: seq, Hash: hash.String()}
	digest := sha256.New()
	if _, err := l.Export(digest, 0); err != nil {
		return Answer{Refused: err.Error()}
	}
	for _, loan := range l.OpenLoans() {
		fmt.Fprintf(digest, "%+v\n", loan)
	}
	a.Content = hex.EncodeToString(digest.Sum(nil))
	for n := r.From; n > 0 && n <= r.Until; n++ {
		e := Work(n)
		if r.Forget {
			e.OpID += "-again"
		}
		if _, err := l.Append(e); err != nil {
			a.Failed = fmt.Sprintf("work %d: %v", n, err)
			break
		}
	}
	return a
}

// bbolt opens the file with bbolt's own checks alone, and serves what its log has.
func (r Request) bbolt() (a Answer) {
	defer func() {
		if p := recover(); p != nil {
			a = Answer{Refused: fmt.Sprint(p)}
		}
	}()
	db, err := bolt.Open(r.File, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		return Answer{Refused: err.Error()}
	}
	defer func() { _ = db.Close() }()
	digest := sha256.New()
	err = db.View(func(tx *bolt.Tx) error {
		var faults []string
		for err := range tx.Check() {
			faults = append(faults, err.Error())
		}
		if len(faults) > 0 {
			return fmt.Errorf("bbolt: %s", strings.Join(faults, "; "))
		}
		return tx.Bucket([]byte("log")).ForEach(func(k, v []byte) error {
			a.Seq++
			digest.Write(k)
			digest.Write(v)
			return nil
		})
	})
	if err != nil {
		return Answer{Refused: err.Error()}
	}
	a.Content = hex.EncodeToString(digest.Sum(nil))
	return a
}
