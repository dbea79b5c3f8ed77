package history

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/grants"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

const (
	// LeastHalfLife is the shortest half-life: entries have milliseconds to spare.
	LeastHalfLife = time.Minute
	// Lately is how far back the rate of units that come free looks.
	Lately = time.Hour
)

// Opening is what the payload of an entry that opens a loan says.
type Opening struct {
	// Queue is the TrainingQueue's namespace/name.
	Queue string `json:"queue"`
}

// Borrowing is what a tenant held on loan from the lenders of one namespace, or of
// its cohort.
type Borrowing struct {
	Tenant, Flavor string
	// Namespace of the lender; empty for quota that its cohort leaves unused.
	Namespace string
}

// Reader reads the ledger; *ledger.Ledger is one.
type Reader interface {
	Read(from uint64, limit int) ([]ledger.Entry, error)
}

// History follows a ledger. It is to be used from one goroutine. The zero value is
// not usable; a nil History remembers nothing.
type History struct {
	decay decay
	// next is the sequence number to go on from.
	next  uint64
	open  map[string]*span
	sums  map[Borrowing]sums
	queue map[string]sums
	ended []freed // in the order of their entries
	// returns are those that ended before that.
	returns returns
}

// span is a loan that has not ended.
type span struct {
	tenant string
	queue  string
	from   time.Time // zero until it takes effect
	grants []ledger.Grant
}

// freed are units that came free.
type freed struct {
	at     time.Time
	flavor string
	units  int64
}

// sums are by period.
type sums map[int64]int64

// New remembers with a half-life of at least LeastHalfLife; 0 remembers only what
// came free.
func New(halfLife time.Duration) *History {
	return &History{
		decay: decay{int64(halfLife)}, next: 1,
		open: map[string]*span{}, sums: map[Borrowing]sums{}, queue: map[string]sums{},
	}
}

// Follow reads what was appended to the ledger since the last call: at first, all
// of it.
func (h *History) Follow(book Reader) error {
	if h == nil {
		return nil
	}
	for {
		entries, err := book.Read(h.next, ledger.MaxPage)
		if err != nil {
			return fmt.Errorf("read the ledger from entry %d: %w", h.next, err)
		}
		if len(entries) == 0 {
			return nil
		}
		for i := range entries {
			h.add(&entries[i])
			h.next = entries[i].Seq + 1
		}
	}
}

func (h *History) add(e *ledger.Entry) {
	at := e.Time
	if !e.At.IsZero() && e.At.Before(at) {
		at = e.At
	}
	switch e.Kind {
	case ledger.LendIntent, ledger.Recovered:
		s := &span{tenant: e.Borrower, grants: e.Grants}
		var said Opening
		if json.Unmarshal(e.Payload, &said) == nil { // entries of older versions have none
			s.queue = said.Queue
		}
		if e.Kind == ledger.Recovered {
			s.from = at
		}
		h.open[e.Loan] = s
	case ledger.LendGranted:
		if s := h.open[e.Loan]; s != nil {
			s.from = at
		}
	case ledger.Shed, ledger.ShedLost:
		if s := h.open[e.Loan]; s != nil {
			h.close(&span{tenant: s.tenant, queue: s.queue, grants: grants.Without(s.grants, e.Grants), from: s.from}, at)
			s.grants = e.Grants
		}
	case ledger.LendAborted:
		delete(h.open, e.Loan)
	case ledger.Quarantined: // from here on nobody uses it
		if s := h.open[e.Loan]; s != nil {
			h.book(s, at)
			s.from = time.Time{}
		}
	case ledger.ReclaimDone, ledger.Released, ledger.Preempted, ledger.Lost, ledger.Unquarantined:
		if s := h.open[e.Loan]; s != nil {
			h.close(s, at)
			delete(h.open, e.Loan)
		}
	}
	h.forget(e.Time)
}

// close books a loan that ended.
func (h *History) close(s *span, at time.Time) {
	for _, g := range s.grants {
		h.ended = append(h.ended, freed{at, g.Flavor, g.Count})
		h.returns.shown = nil
	}
	h.book(s, at)
}

// book adds what a loan used until then to the sums.
func (h *History) book(s *span, at time.Time) {
	h.each(s, at,
		func(b Borrowing, period, sum int64) { book(h.sums, b, period, sum) },
		func(queue string, period, sum int64) { book(h.queue, queue, period, sum) })
}

// each tells what a loan has added to the sums by a time.
func (h *History) each(s *span, at time.Time, borrowed func(b Borrowing, period, sum int64), used func(queue string, period, sum int64)) {
	if h.decay.whole == 0 || s.from.IsZero() {
		return
	}
	var all int64
	for _, g := range s.grants {
		all += g.Count
		if g.Lender != "" {
			period, sum := h.decay.held(g.Count*1000, s.from, at)
			borrowed(Borrowing{s.tenant, g.Flavor, namespaceOf(g.Lender)}, period, sum)
		}
	}
	if s.queue != "" {
		period, sum := h.decay.held(all*1000, s.from, at)
		used(s.queue, period, sum)
	}
}

func book[K comparable](to map[K]sums, key K, period, sum int64) {
	if to[key] == nil {
		to[key] = sums{}
	}
	to[key][period] += sum
}

// namespaceOf a lender; a cohort has none.
func namespaceOf(lender string) string {
	namespace, _, found := strings.Cut(lender, "/")
	if !found {
		return ""
	}
	return namespace
}
