package replica

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

// Peer is where the leader serves.
type Peer struct {
	// Name is the broker's, as in an Ack.
	Name string
	// URL is https://host:port, Certificate what it shows there.
	URL         string
	Certificate Fingerprint
}

// ErrParted: this broker's file and the leader's ledger are not of one chain, and the
// published head is in this one. It stays as it is, and is the ledger when this broker leads.
var ErrParted = errors.New("the leader's ledger lacks what this broker's file has, and was published")

// Follower keeps the file. Its fields are set before Run.
type Follower struct {
	// Name of this broker.
	Name string
	// Files are where the copy is, and this broker's own ledger.
	Files Files
	// Options of the ledger that is opened.
	Options segments.Options
	// Leader says where to ask; an error, or this broker's own name: nobody is to be asked now.
	Leader func(ctx context.Context) (Peer, error)
	// Client asks that peer.
	Client func(Peer) (*http.Client, error)
	// Published is what others know of the ledger.
	Published func(ctx context.Context) (published.Head, error)
	// Retry is how long after an error it is tried again; where errors follow each other and
	// nothing comes, it is doubled, to mostRetries times as long.
	Retry time.Duration

	mu    sync.Mutex
	state Status
}

// Status is how far a follower is.
type Status struct {
	// Seq is the file's last entry.
	Seq uint64
	// Asked: a leader has answered. Synced: the file had all that it has, at least once.
	Asked, Synced bool
	// Err is why it does not follow now; nil if it does.
	Err error
}

// Status may be asked from any goroutine.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

func (f *Follower) say(change func(*Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.state)
}

// mostRetries bounds how much longer than Retry is waited: to open a long file costs seconds.
const mostRetries = 8

// Run follows whoever leads until ctx ends, and then has the file closed.
func (f *Follower) Run(ctx context.Context) error {
	log := logr.FromContextOrDiscard(ctx)
	said, wait, had := "", f.Retry, uint64(0)
	for ctx.Err() == nil {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			break // what that ended is no error
		}
		f.say(func(s *Status) { s.Err = err })
		if err != nil && err.Error() != said {
			said = err.Error()
			log.Info("The ledger is not followed now; it is tried again", "why", said)
		}
		if seq := f.Status().Seq; err == nil || seq != had {
			wait, had = f.Retry, seq
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, mostRetries*f.Retry)
	}
	return nil //nolint:nilerr // what the end of ctx ended is no error
}

// follow follows one leader until something goes wrong.
func (f *Follower) follow(ctx context.Context) (err error) {
	peer, err := f.Leader(ctx)
	if err != nil {
		return fmt.Errorf("find the leader: %w", err)
	}
	if peer.Name == f.Name {
		return nil
	}
	client, err := f.Client(peer)
	if err != nil {
		return fmt.Errorf("prepare to ask %s: %w", peer.Name, err)
	}
	defer client.CloseIdleConnections()
	s := &session{Follower: f, peer: peer, client: client}
	defer func() { err = errors.Join(err, s.close()) }()
	first, err := s.ask(ctx, 0, "")
	if err != nil {
		return err
	}
	s.ticket = first.ticket
	f.say(func(s *Status) { s.Asked = true })
	if err := s.open(ctx, first.identity); err != nil {
		return err
	}
	logr.FromContextOrDiscard(ctx).Info("Following the ledger", "leader", peer.Name, "from", s.next())
	for ctx.Err() == nil {
		if err := s.turn(ctx); err != nil {
			return err
		}
	}
	return nil
}

// session is with one leader.
type session struct {
	*Follower
	peer   Peer
	client *http.Client
	ticket string

	book *segments.Set
	// id, base and before are the copy's: which ledger it is of, and after which entry it
	// begins.
	id     string
	base   uint64
	before ledger.Hash
}

func (s *session) close() error {
	if s.book == nil {
		return nil
	}
	err := s.book.Close()
	s.book = nil
	return err
}

func (s *session) next() uint64 {
	seq, _ := s.book.Head()
	return seq + 1
}

// last is the file's last entry, or the one before its first.
func (s *session) last() (uint64, ledger.Hash) {
	seq, hash := s.book.Head()
	if seq == s.base {
		return seq, s.before
	}
	return seq, hash
}

// take makes an open ledger the session's.
func (s *session) take(book *segments.Set) error {
	s.book = book
	identity, err := book.Identity()
	if err == nil {
		s.id, s.base, s.before, err = ledger.Beginning(identity)
	}
	return err
}

// open opens the copy. If there is none it is this broker's own ledger, from the time when it
// led, if that is a beginning of the leader's; or else a new file.
func (s *session) open(ctx context.Context, identity []byte) error {
	id, _, _, err := ledger.Beginning(identity)
	if err != nil {
		return err
	}
	if err := s.Files.settle(); err != nil {
		return err
	}
	for _, path := range []string{s.Files.Copy, s.Files.Own} {
		if found, err := s.openWith(ctx, path, id); found || err != nil {
			return err
		}
	}
	if err := ledger.Begin(s.Files.Copy, identity); err != nil {
		return err
	}
	return s.reopen()
}

// openWith opens that file as the copy, if it is there and a beginning of the leader's ledger.
func (s *session) openWith(ctx context.Context, path, id string) (bool, error) {
	book, err := openIfThere(path, s.Options)
	switch {
	case damaged(err) && path == s.Files.Copy:
		return false, s.replace(ctx, err)
	case damaged(err): // when this broker leads, it is looked at again
		return false, nil
	case err != nil || book == nil:
		return false, err
	}
	if err := s.take(book); err != nil {
		return false, err
	}
	fits, err := s.fits(ctx, id)
	switch {
	case err != nil:
		return false, err
	case fits && path == s.Files.Copy:
		return true, nil
	case fits:
		if err := errors.Join(s.close(), move(path, s.Files.Copy)); err != nil {
			return false, fmt.Errorf("follow with this broker's own ledger: %w", err)
		}
		return true, s.reopen()
	case path == s.Files.Copy:
		return false, s.part(ctx)
	}
	return false, s.close()
}

// replace puts a damaged copy aside: the leader has all of it.
func (s *session) replace(ctx context.Context, damage error) error {
	to, err := s.Files.aside(s.Files.Copy, 0, ledger.Hash{})
	if err == nil {
		logr.FromContextOrDiscard(ctx).Error(damage, "A damaged copy of the ledger was put aside, and is filled anew", "file", to)
	}
	return err
}

func (s *session) reopen() error {
	book, err := segments.Open(s.Files.Copy, s.Options)
	if err != nil {
		return fmt.Errorf("open the copy of the ledger: %w", err)
	}
	return s.take(book)
}

// fits asks the leader whether the file is a beginning of its ledger.
func (s *session) fits(ctx context.Context, id string) (bool, error) {
	if s.id != id {
		return false, nil
	}
	seq, hash := s.last()
	if seq == 0 {
		return true, nil
	}
	// from the last entry, so that the answer does not wait for others
	_, err := s.askAfter(ctx, seq, seq, hash.String())
	if errors.Is(err, errConflict) {
		return false, nil
	}
	return err == nil, err
}

// part puts the copy aside that is not of the leader's chain, unless it has what was
// published: then the leader has lost something, and this is the newer file.
func (s *session) part(ctx context.Context) error {
	head, err := s.Published(ctx)
	if err != nil {
		return fmt.Errorf("read what was published of the ledger: %w", err)
	}
	missing, err := published.Compare(s.book, head)
	if err != nil {
		return err
	}
	seq, hash := s.book.Head()
	if missing == nil {
		return fmt.Errorf("%w: %s ends with entry %d", ErrParted, s.Files.Copy, seq)
	}
	if err := s.close(); err != nil {
		return err
	}
	to, err := s.Files.aside(s.Files.Copy, seq, hash)
	if err != nil {
		return err
	}
	logr.FromContextOrDiscard(ctx).Info("A copy that is not of the leader's ledger was put aside", "file", to, "lastEntry", seq, "why", missing.Why)
	return nil
}

// turn tells the leader how far the copy is, asks for records and writes them.
func (s *session) turn(ctx context.Context) error {
	if err := s.ack(ctx); err != nil {
		return err
	}
	seq, hash := s.last()
	p, err := s.ask(ctx, seq+1, hash.String())
	if errors.Is(err, errConflict) {
		return errors.Join(err, s.part(ctx))
	}
	if p == nil {
		return err
	}
	if len(p.records) == 0 {
		s.say(func(st *Status) { st.Seq, st.Synced, st.Err = seq, true, nil })
		return err
	}
	if err := s.book.AppendRaw(p.records); err != nil {
		return fmt.Errorf("write what the leader sent: %w", err)
	}
	seq, _ = s.last()
	s.say(func(st *Status) {
		st.Seq, st.Err = seq, nil
		st.Synced = st.Synced || err == nil && seq >= p.head // a page may also end with a month
	})
	return err
}

// ack tells the leader what is on this disk.
func (s *session) ack(ctx context.Context) error {
	seq, hash := s.last()
	body, err := json.Marshal(Ack{Follower: s.Name, Ticket: s.ticket, Ledger: s.id, Seq: seq, Hash: hash})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.peer.URL+PathAck, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return fmt.Errorf("acknowledge entry %d to %s: %w", seq, s.peer.Name, err)
	}
	defer response.Body.Close()
	err = refused(response, http.StatusNoContent)
	if errors.Is(err, errConflict) {
		return errors.Join(err, s.part(ctx))
	}
	return err
}

func (s *session) ask(ctx context.Context, from uint64, after string) (*page, error) {
	last := from
	if from > 0 {
		last = from - 1
	}
	return s.askAfter(ctx, from, last, after)
}

// askAfter asks for the records from a number on; after is the hash of the file's last.
func (s *session) askAfter(ctx context.Context, from, last uint64, after string) (*page, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*pollTime)
	defer cancel()
	query := url.Values{"from": {strconv.FormatUint(from, 10)}, "follower": {s.Name}}
	if last > 0 {
		query.Set("last", strconv.FormatUint(last, 10))
		query.Set("after", after)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.peer.URL+PathRecords+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask %s for records: %w", s.peer.Name, err)
	}
	defer response.Body.Close()
	if err := refused(response, http.StatusOK); err != nil {
		return nil, fmt.Errorf("ask %s for records from %d: %w", s.peer.Name, from, err)
	}
	return readPage(response)
}

// errConflict: the leader says that this file is not of its chain.
var errConflict = errors.New("not a beginning of the leader's ledger")

// refused is what another status than wanted says.
func refused(r *http.Response, want int) error {
	if r.StatusCode == want {
		return nil
	}
	var why refusal
	body, _ := io.ReadAll(io.LimitReader(r.Body, mostBody)) // the status says enough
	_ = json.Unmarshal(body, &why)
	if r.StatusCode == http.StatusConflict {
		return fmt.Errorf("%w: %s", errConflict, why.Error)
	}
	return fmt.Errorf("%s: %s", r.Status, why.Error)
}
