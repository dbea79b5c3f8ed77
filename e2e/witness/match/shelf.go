package match

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/e2e/witness/books"
)

// The kinds of entries that are looked at.
const (
	lendIntent    = 2
	lendGranted   = 3
	lendAborted   = 4
	reclaimIntent = 5
	reclaimDone   = 6
	released      = 7
	preempted     = 8
	lost          = 9
	recovered     = 10
	shed          = 13
	shedLost      = 17
	gap           = 22
	unquarantined = 27
)

// Book is a file of the ledger that was judged by itself.
type Book struct {
	Path    string
	Finding *books.Finding
}

// stretch is a GAP: numbers of a ledger that are said to be missing.
type stretch struct {
	op       string
	from, to uint64
}

// shelf is what all books say together.
type shelf struct {
	books   []Book
	byHash  map[string]uint64
	bySeq   map[string]map[uint64]string // hashes by ledger and number
	byLoan  map[string][]*books.Record
	open    map[string]bool
	gaps    []stretch
	carried map[string]bool // hashes of what a RECOVERED has
	found   []Finding
}

func (s *shelf) find(kind Kind, text string, args ...any) {
	s.found = append(s.found, Finding{kind, fmt.Sprintf(text, args...)})
}

// kindOf is what a verdict on a book comes to.
func kindOf(law books.Law) Kind {
	switch law {
	case books.Operations:
		return Duplicate
	case books.OneLoan:
		return DoubleLent
	case books.Epochs, books.States, books.Balances:
		return Books
	}
	return ChainBreak
}

// newShelf puts the books in order, and finds what is wrong with them alone.
func newShelf(all []Book) *shelf {
	s := &shelf{
		books:  slices.SortedFunc(slices.Values(all), func(a, b Book) int { return cmp.Compare(a.Finding.Base, b.Finding.Base) }),
		byHash: map[string]uint64{}, bySeq: map[string]map[uint64]string{}, byLoan: map[string][]*books.Record{},
		open: map[string]bool{}, carried: map[string]bool{},
	}
	ends := map[string]uint64{}
	operations := map[string]uint64{}
	for _, b := range s.books {
		f, id := b.Finding, hex.EncodeToString(b.Finding.ID[:])
		for _, v := range f.Verdicts {
			s.find(kindOf(v.Law), "%s: %s", b.Path, v)
		}
		if end, before := ends[id]; before && end != f.Base {
			s.find(ChainBreak, "%s goes on after %d, and the file before ends with %d", b.Path, f.Base, end)
		}
		ends[id] = f.Head
		for i := range f.Records {
			s.shelve(id, &f.Records[i], operations, b.Path)
		}
	}
	for _, b := range s.books {
		if ends[hex.EncodeToString(b.Finding.ID[:])] == b.Finding.Head { // the newest of its ledger
			for name := range b.Finding.Open {
				s.open[name] = true
			}
		}
	}
	return s
}

func (s *shelf) shelve(id string, r *books.Record, operations map[string]uint64, path string) {
	hash := hex.EncodeToString(r.Hash[:])
	s.byHash[hash] = r.Seq
	if s.bySeq[id] == nil {
		s.bySeq[id] = map[uint64]string{}
	}
	s.bySeq[id][r.Seq] = hash
	if r.Loan != "" {
		op := fmt.Sprintf("%s\x00%s\x00%d", id, r.OpID, r.Kind)
		if other, twice := operations[op]; twice && other != r.Seq {
			s.find(Duplicate, "%s: entry %d writes operation %q again, which is entry %d", path, r.Seq, r.OpID, other)
		}
		operations[op] = r.Seq
		s.byLoan[r.Loan] = append(s.byLoan[r.Loan], r)
	}
	switch r.Kind {
	case gap:
		var p struct{ From, To uint64 }
		if json.Unmarshal([]byte(r.Payload), &p) == nil {
			s.gaps = append(s.gaps, stretch{r.OpID, p.From, p.To})
		}
	case recovered:
		var p struct{ Records []struct{ Hash string } }
		if json.Unmarshal([]byte(r.Payload), &p) == nil {
			for _, c := range p.Records {
				s.carried[strings.ToLower(c.Hash)] = true
			}
		}
	}
}

// said tells whether the books say that an entry is missing. A GAP's operation names the
// ledger whose numbers are meant.
func (s *shelf) said(a Acked) bool {
	return s.carried[a.Hash] || slices.ContainsFunc(s.gaps, func(g stretch) bool {
		return g.from <= a.Seq && a.Seq <= g.to && (a.Ledger == "" || !strings.HasPrefix(g.op, "gap-") || strings.Contains(g.op, a.Ledger))
	})
}
