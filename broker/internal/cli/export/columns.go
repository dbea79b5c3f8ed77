package export

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// groupRows is how many entries are held back: those of a row group.
const groupRows = 8192

// Entry is a row of a Parquet file. It has all that an entry has, under the same names.
type Entry struct {
	Seq       uint64   `parquet:"seq"`
	Time      int64    `parquet:"time,timestamp(nanosecond)"`
	At        *int64   `parquet:"at,optional,timestamp(nanosecond)"`
	MonoNS    int64    `parquet:"monoNS"`
	BootID    string   `parquet:"bootID,dict"`
	Epoch     int64    `parquet:"epoch"`
	Kind      string   `parquet:"kind,dict"`
	OpID      string   `parquet:"opID"`
	Loan      string   `parquet:"loan"`
	Job       string   `parquet:"job"`
	JobUID    string   `parquet:"jobUID"`
	Borrower  string   `parquet:"borrower,dict"`
	Grants    []Grant  `parquet:"grants,list"`
	Reason    string   `parquet:"reason,dict"`
	Message   string   `parquet:"message"`
	Signals   []Signal `parquet:"signals,list"`
	ReclaimID string   `parquet:"reclaimID"`
	Corrects  uint64   `parquet:"corrects"`
	// Payload is JSON, or empty.
	Payload string `parquet:"payload"`
	// The hashes are in hex.
	PrevHash string `parquet:"prevHash"`
	Hash     string `parquet:"hash"`
}

// Grant is one of an entry's.
type Grant struct {
	Lender string `parquet:"lender,dict"`
	Node   string `parquet:"node,dict"`
	Flavor string `parquet:"flavor,dict"`
	Count  int64  `parquet:"count"`
}

// Signal is a value behind an entry's verdict.
type Signal struct {
	Name  string  `parquet:"name,dict"`
	Value float64 `parquet:"value"`
}

type columns struct {
	w    *parquet.GenericWriter[Entry]
	held int
}

func newColumns(w io.Writer) Writer {
	return &columns{w: parquet.NewGenericWriter[Entry](w, parquet.Compression(&parquet.Snappy))}
}

func (c *columns) Write(raw json.RawMessage) error {
	var e ledger.Entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("read a ledger entry: %w", err)
	}
	if _, err := c.w.Write([]Entry{toRow(&e)}); err != nil {
		return err
	}
	if c.held++; c.held < groupRows {
		return nil
	}
	c.held = 0
	return c.w.Flush()
}

func (c *columns) Close() error { return c.w.Close() }

func toRow(e *ledger.Entry) Entry {
	row := Entry{
		Seq: e.Seq, Time: e.Time.UnixNano(), MonoNS: e.MonoNS, BootID: e.BootID, Epoch: e.Epoch, Kind: e.Kind.String(), OpID: e.OpID,
		Loan: e.Loan, Job: e.Job, JobUID: e.JobUID, Borrower: e.Borrower, Reason: e.Reason, Message: e.Message,
		ReclaimID: e.ReclaimID, Corrects: e.Corrects, Payload: string(e.Payload), PrevHash: e.PrevHash.String(), Hash: e.Hash.String(),
	}
	if !e.At.IsZero() {
		at := e.At.UnixNano()
		row.At = &at
	}
	for _, g := range e.Grants {
		row.Grants = append(row.Grants, Grant(g))
	}
	for _, v := range e.Signals {
		row.Signals = append(row.Signals, Signal(v))
	}
	return row
}
