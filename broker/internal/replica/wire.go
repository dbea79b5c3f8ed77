package replica

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// The routes, both for brokers only.
const (
	PathRecords = "/replica/records"
	PathAck     = "/replica/ack"
)

const (
	// headerIdentity names the ledger that records are of: an Identity in base 64.
	headerIdentity = "Ebbtide-Ledger-Identity"
	// headerHead is the number of the leader's last entry when it answered.
	headerHead = "Ebbtide-Ledger-Head"
	// headerTicket is what a follower shows in its acks from then on.
	headerTicket = "Ebbtide-Ticket"
	// pollTime is how long a question for records waits for some.
	pollTime = 10 * time.Second
	// pageRecords and pageBytes bound one answer; a single record may be larger.
	pageRecords = 500
	pageBytes   = 4 << 20
	// mostRecord is more than any record has.
	mostRecord = 16 << 20
	// mostBody bounds what is read of an ack or an error.
	mostBody = 64 << 10
)

// Ack says how far a follower is.
type Ack struct {
	// Follower names it; no other has the same name.
	Follower string `json:"follower"`
	// Ticket is the leader's, from when the follower began to ask: an ack that was on its way
	// for longer says nothing about the disk any more.
	Ticket string `json:"ticket"`
	// Ledger is the ID of the ledger.
	Ledger string      `json:"ledger"`
	Seq    uint64      `json:"seq"`
	Hash   ledger.Hash `json:"hash"`
}

// refusal is the answer to what cannot be served.
type refusal struct {
	Error string `json:"error"`
}

// page is an answer with records.
type page struct {
	identity []byte
	ticket   string
	head     uint64
	records  [][]byte
}

// write sends as many of the records as fit, each with its length before it.
func (p *page) write(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/octet-stream")
	if p.ticket != "" {
		w.Header().Set(headerTicket, p.ticket)
	}
	w.Header().Set(headerHead, strconv.FormatUint(p.head, 10))
	w.Header().Set(headerIdentity, base64.StdEncoding.EncodeToString(p.identity))
	size := 0
	for _, record := range p.records {
		if size += len(record); size > pageBytes && size > len(record) {
			return nil
		}
		if _, err := w.Write(append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(record)), uint32(len(record))), record...)); err != nil {
			return err
		}
	}
	return nil
}

// readPage reads an answer. If it is cut off, what came whole is returned with the error:
// each record is checked by itself.
func readPage(r *http.Response) (*page, error) {
	identity, err := base64.StdEncoding.DecodeString(r.Header.Get(headerIdentity))
	if err != nil || len(identity) == 0 {
		return nil, errors.New("the answer does not say which ledger it is of")
	}
	p := &page{identity: identity, ticket: r.Header.Get(headerTicket)}
	if p.head, err = strconv.ParseUint(r.Header.Get(headerHead), 10, 64); err != nil {
		return nil, errors.New("the answer does not say how far the ledger is")
	}
	for len(p.records) < pageRecords {
		var size [4]byte
		if _, err := io.ReadFull(r.Body, size[:]); errors.Is(err, io.EOF) {
			return p, nil
		} else if err != nil {
			return p, fmt.Errorf("read the length of a record: %w", err)
		}
		n := binary.BigEndian.Uint32(size[:])
		if n == 0 || n > mostRecord {
			return p, fmt.Errorf("a record of %d bytes", n)
		}
		record := make([]byte, n)
		if _, err := io.ReadFull(r.Body, record); err != nil {
			return p, fmt.Errorf("read a record: %w", err)
		}
		p.records = append(p.records, record)
	}
	return p, nil
}
