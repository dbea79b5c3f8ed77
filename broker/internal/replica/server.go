package replica

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// Book is what a leader's ledger is asked for.
type Book interface {
	ID() (string, error)
	Head() (uint64, ledger.Hash)
	Read(from uint64, limit int) ([]ledger.Entry, error)
	Raw(from uint64, limit int) ([][]byte, error)
	// Identity is of the oldest file.
	Identity() ([]byte, error)
}

// ErrNotAcked: no follower has the entry on its disk in time.
var ErrNotAcked = errors.New("no follower has acknowledged the ledger's last entries")

// lookAgain is how often a question that waits for records looks whether there are some.
// Whoever waits for an ack makes it look at once.
const lookAgain = 50 * time.Millisecond

// Server is the leader's side. It answers 503 until it Leads.
type Server struct {
	timeout time.Duration
	poll    time.Duration // how long a question for records waits for some

	mu      sync.Mutex
	book    Book
	acks    map[string]heard  // by follower
	tickets map[string]string // by follower
	missed  uint64            // an entry that was not acknowledged in time
	changed chan struct{}     // closed when an ack comes
	wanted  chan struct{}     // closed when somebody waits for one
}

// heard is a follower's last ack.
type heard struct {
	ticket string
	seq    uint64
	at     time.Time
}

// silence is how long a follower counts that is not heard of; it asks every pollTime.
const silence = 6 * pollTime

// NewServer makes a server whose followers have that long to acknowledge an entry.
func NewServer(timeout time.Duration) *Server {
	return &Server{timeout: timeout, poll: pollTime, acks: map[string]heard{}, tickets: map[string]string{}, changed: make(chan struct{}), wanted: make(chan struct{})}
}

// Lead begins to serve the book; nil ends it. Until a follower has acknowledged what is in
// it, MayLend says no.
func (s *Server) Lead(book Book) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book, s.acks, s.tickets, s.missed = book, map[string]heard{}, map[string]string{}, 0
	if book != nil {
		seq, _ := book.Head()
		s.missed = max(seq, 1)
	}
}

// Durable is the number up to which all entries are on a follower's disk.
func (s *Server) Durable() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable()
}

func (s *Server) durable() uint64 {
	var most uint64
	for name, h := range s.acks {
		if time.Since(h.at) > silence {
			delete(s.acks, name)
			continue
		}
		most = max(most, h.seq)
	}
	return most
}

// MayLend says why nothing new may be lent: an entry was not acknowledged in time, and still
// is not.
func (s *Server) MayLend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if durable := s.durable(); durable < s.missed {
		return fmt.Errorf("%w: a follower has %d of %d; nothing new is lent until it has all", ErrNotAcked, durable, s.missed)
	}
	return nil
}

// Wait returns when a follower has the entry on its disk. The error is ErrNotAcked if that
// takes too long, and at once while MayLend says no.
func (s *Server) Wait(ctx context.Context, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	for {
		s.mu.Lock()
		durable, late := s.durable(), s.durable() < s.missed
		changed := s.changed
		close(s.wanted)
		s.wanted = make(chan struct{})
		s.mu.Unlock()
		switch {
		case durable >= seq:
			return nil
		case late:
			return s.miss(seq)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return s.miss(seq)
		}
	}
}

// miss notes that an entry was not acknowledged in time, if that is so.
func (s *Server) miss(seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	durable := s.durable()
	if durable >= seq {
		return nil
	}
	s.missed = max(s.missed, seq)
	return fmt.Errorf("%w: a follower has %d of %d", ErrNotAcked, durable, seq)
}

// Handler serves PathRecords and PathAck. Who may ask is the caller's business.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathRecords, s.serveRecords)
	mux.HandleFunc("POST "+PathAck, s.serveAck)
	return mux
}

func refuse(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(refusal{fmt.Sprintf(format, args...)}) // the client has gone if this fails
}

// leads is the book; nil, and the answer, where there is none.
func (s *Server) leads(w http.ResponseWriter) Book {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.book == nil {
		refuse(w, http.StatusServiceUnavailable, "this broker does not lead")
	}
	return s.book
}

// serveRecords answers with the records from a number on, and waits for some if there are
// none, unless the follower's last entry, last with the hash after, is not on this chain.
// from=0 asks whose the ledger is, and for a ticket.
func (s *Server) serveRecords(w http.ResponseWriter, r *http.Request) {
	book := s.leads(w)
	if book == nil {
		return
	}
	from, err := number(r, "from")
	if err != nil {
		refuse(w, http.StatusBadRequest, "%v", err)
		return
	}
	last, err := number(r, "last")
	if err != nil {
		refuse(w, http.StatusBadRequest, "%v", err)
		return
	}
	var p page
	if from == 0 {
		p.ticket = s.ticket(r.URL.Query().Get("follower"))
	} else {
		if why := strange(book, last, r.URL.Query().Get("after")); why != "" {
			refuse(w, http.StatusConflict, "%s", why)
			return
		}
		s.await(r.Context(), book, from)
		if p.records, err = book.Raw(from, pageRecords); err != nil {
			refuse(w, http.StatusInternalServerError, "read records: %v", err)
			return
		}
	}
	p.head, _ = book.Head()
	if p.identity, err = book.Identity(); err != nil {
		refuse(w, http.StatusInternalServerError, "read the ledger's identity: %v", err)
		return
	}
	_ = p.write(w) // the client has gone if this fails
}

// ticket is a new one; those that the follower had are void.
func (s *Server) ticket(follower string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.tickets) >= mostFollowers {
		clear(s.tickets)
	}
	s.tickets[follower] = rand.Text()
	return s.tickets[follower]
}

// mostFollowers bounds what is remembered of names that come and go.
const mostFollowers = 64

// number is a parameter's; 0 if it is absent.
func number(r *http.Request, name string) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: must be a number", name)
	}
	return n, nil
}

// strange says what speaks against that a follower's last entry is on this ledger's chain.
func strange(book Book, seq uint64, hash string) string {
	if head, _ := book.Head(); seq > head {
		return fmt.Sprintf("the leader's ledger ends with entry %d, before the follower's %d", head, seq)
	}
	if seq == 0 || hash == "" {
		return "" // its file is empty
	}
	entries, err := book.Read(seq, 1)
	switch {
	case err != nil:
		return fmt.Sprintf("entry %d cannot be read: %v", seq, err)
	case len(entries) == 0 || entries[0].Seq != seq:
		return "" // no longer here: the chain of what follows tells
	}
	if have := entries[0].Hash.String(); have != hash {
		return fmt.Sprintf("entry %d has hash %s in the leader's ledger, and %s in the follower's", seq, have, hash)
	}
	return ""
}

// await waits until the ledger has an entry, for as long as one question may take.
func (s *Server) await(ctx context.Context, book Book, seq uint64) {
	over := time.NewTimer(s.poll)
	defer over.Stop()
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for {
		s.mu.Lock()
		wanted := s.wanted
		s.mu.Unlock()
		if head, _ := book.Head(); head >= seq {
			return
		}
		select {
		case <-again.C:
		case <-wanted:
		case <-over.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) serveAck(w http.ResponseWriter, r *http.Request) {
	book := s.leads(w)
	if book == nil {
		return
	}
	var ack Ack
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&ack); err != nil {
		refuse(w, http.StatusBadRequest, "read the ack: %v", err)
		return
	}
	if why := check(book, &ack); why != "" {
		refuse(w, http.StatusConflict, "%s", why)
		return
	}
	if !s.take(book, &ack) {
		refuse(w, http.StatusGone, "the ticket is not the follower's last one")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// check says what speaks against an ack.
func check(book Book, ack *Ack) string {
	id, err := book.ID()
	if err != nil || id != ack.Ledger || ack.Follower == "" {
		return fmt.Sprintf("follower %q has ledger %s, and the leader %s (%v)", ack.Follower, ack.Ledger, id, err)
	}
	return strange(book, ack.Seq, ack.Hash.String())
}

// take notes an ack, if it is of the follower's last ticket. A follower that has less than
// before lost its disk, and what it had is to be acknowledged anew.
func (s *Server) take(book Book, ack *Ack) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.book != book || ack.Ticket == "" || s.tickets[ack.Follower] != ack.Ticket {
		return false
	}
	before, last := s.durable(), s.acks[ack.Follower]
	if last.ticket != ack.Ticket {
		last = heard{ticket: ack.Ticket}
	}
	last.seq, last.at = max(last.seq, ack.Seq), time.Now() // in one session no entry goes
	s.acks[ack.Follower] = last
	if s.durable() < before {
		s.missed = max(s.missed, before)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return true
}
