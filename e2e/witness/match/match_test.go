package match_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/witness/books"
	"github.com/ebbtide/ebbtide/e2e/witness/history"
	"github.com/ebbtide/ebbtide/e2e/witness/match"
)

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const own = "research/a-1"

// The kinds that the tests write.
const (
	epochStart, intent, granted, aborted, askedBack, done, recovered, gap = 1, 2, 3, 4, 5, 6, 10, 22
)

// story is a history with the books about it, both as they should be until something is
// doctored.
type story struct {
	book    *books.Finding
	seen    *match.Seen
	settled bool
	// silent is for how many seconds the API server did not answer before what is shown.
	silent float64
	paths  []match.Book
}

var ledgerID = [16]byte{7}

func (s *story) write(second float64, kind uint8, change func(*books.Record)) *books.Record {
	f := s.book
	r := books.Record{
		Kind: kind, Seq: f.Head + 1, Epoch: 1, Time: at(second).UnixNano(), Mono: int64(second * 1e9), BootID: "boot",
		OpID: own, Loan: own, JobUID: "uid", Borrower: "research", PrevHash: f.Hash,
	}
	if kind == intent || kind == recovered {
		r.Grants = []books.Grant{{Lender: "serving/chat", Node: "n1", Flavor: "h100", Count: 4}, {Node: "n1", Flavor: "h100", Count: 2}}
	}
	if kind == epochStart || kind == gap {
		r.Loan, r.OpID = "", fmt.Sprint("op-", r.Seq)
	}
	if change != nil {
		change(&r)
	}
	r.Hash = sha256.Sum256(fmt.Append(nil, r))
	f.Records = append(f.Records, r)
	f.Head, f.Hash = r.Seq, r.Hash
	return &f.Records[len(f.Records)-1]
}

func at(second float64) time.Time { return began.Add(time.Duration(second * float64(time.Second))) }

func (s *story) show(second float64, o any) {
	s.seen.Apply(history.Event{Revision: uint64(second * 10), At: at(second), Since: at(second - s.silent), Object: o})
}

func (s *story) head(second float64) {
	s.show(second, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: history.LedgerLease, Annotations: map[string]string{
		"ebbtide.dev/ledger-head": fmt.Sprintf("%d:%x", s.book.Head, s.book.Hash), "ebbtide.dev/ledger-id": hex.EncodeToString(ledgerID[:]), "ebbtide.dev/ledger-epoch": "1",
	}}})
}

// loan shows the Loan with conditions that are true, and what it carries.
func (s *story) loan(second float64, carried *books.Record, conditions ...string) {
	o := &v1alpha1.Loan{
		ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "a-1", UID: "loan"},
		Spec: v1alpha1.LoanSpec{Grants: []v1alpha1.Grant{
			{Lender: "serving/chat", Node: "n1", Flavor: "h100", Count: 4}, {Node: "n1", Flavor: "h100", Count: 2},
		}},
	}
	for _, c := range conditions {
		meta.SetStatusCondition(&o.Status.Conditions, metav1.Condition{Type: c, Status: metav1.ConditionTrue, Reason: "X"})
	}
	if carried != nil {
		o.Status.Records = []v1alpha1.LoanRecord{{Seq: int64(carried.Seq), Hash: hex.EncodeToString(carried.Hash[:])}}
	}
	s.show(second, o)
}

func (s *story) gone(second float64) {
	s.seen.Apply(history.Event{At: at(second), Since: at(second), Deleted: true, Object: &v1alpha1.Loan{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "a-1", UID: "loan"}}})
}

func newStory() *story {
	s := &story{book: &books.Finding{ID: ledgerID, Open: map[string]books.OpenLoan{}}, seen: match.NewSeen(), settled: true}
	s.paths = []match.Book{{Path: "ledger.db", Finding: s.book}}
	s.write(0, epochStart, nil)
	s.head(0.1)
	return s
}

// lend and giveBack are what the product does.
func (s *story) lend() {
	first := s.write(1, intent, nil)
	s.loan(1.1, nil)
	s.loan(1.2, first, v1alpha1.LoanActive)
	s.write(1.3, granted, nil)
	s.book.Open[own] = books.OpenLoan{}
	s.head(1.4)
}

// lendLate is what a broker does that finds the loan, made at 1.1, at work, when the one before
// ended too early to say so: at noted it writes that the loan is held since another moment.
func (s *story) lendLate(noted, since, active float64) {
	s.write(1, intent, nil)
	s.loan(1.1, nil)
	grant := func() {
		s.write(noted, granted, func(r *books.Record) { r.At = at(since).UnixNano() })
	}
	if noted <= active {
		grant()
	}
	s.loan(active, nil, v1alpha1.LoanActive)
	if noted > active {
		grant()
	}
	s.book.Open[own] = books.OpenLoan{}
	s.giveBack()
}

// lendUnheard has the loan granted at 1.3, and said to be Active when the API server answers again
// at 4.7, after it was silent for so many seconds.
func (s *story) lendUnheard(silent float64) {
	s.write(1, intent, nil)
	s.loan(1.1, nil)
	s.write(1.3, granted, nil)
	s.silent = silent
	s.loan(4.7, nil, v1alpha1.LoanActive)
	s.silent = 0
	s.giveBack()
}

func (s *story) giveBack() {
	s.write(11, askedBack, nil)
	s.loan(11.1, nil, v1alpha1.LoanActive, v1alpha1.LoanReclaiming)
	s.loan(21.2, nil, v1alpha1.LoanActive, v1alpha1.LoanReclaiming, v1alpha1.LoanReturned)
	s.write(21.3, done, nil)
	s.head(21.4)
	delete(s.book.Open, own)
	s.gone(21.5)
}

// lose forgets the book, and begins another.
func (s *story) lose() {
	s.book = &books.Finding{ID: [16]byte{8}, Open: map[string]books.OpenLoan{}}
	s.paths = []match.Book{{Path: "ledger.db", Finding: s.book}}
	s.write(30, epochStart, nil)
}

func (s *story) gap(to uint64) {
	s.write(30.1, gap, func(r *books.Record) {
		r.OpID, r.Payload = fmt.Sprintf("gap-%x-%d", ledgerID, to), fmt.Sprintf(`{"from":1,"to":%d}`, to)
	})
}

// Each row doctors one thing.
func TestGuilty(t *testing.T) {
	tests := []struct {
		name string
		want map[match.Kind]int // nil: nothing
		text string
		play func(s *story)
	}{
		{"lent", nil, "", func(s *story) { s.lend() }},
		{"lent and given back", nil, "", func(s *story) { s.lend(); s.giveBack() }},
		{"came to nothing", nil, "", func(s *story) {
			s.write(1, intent, nil)
			s.loan(1.1, nil)
			s.write(1.3, aborted, nil)
			s.gone(1.4)
		}},
		{"a lost disk that is said", nil, "", func(s *story) {
			s.lend()
			s.giveBack()
			s.lose()
			s.gap(5)
		}},
		{"a lost disk under a Loan", nil, "", func(s *story) {
			s.lend()
			carried := s.book.Records[1].Hash
			s.lose()
			s.gap(3)
			s.write(30.2, recovered, func(r *books.Record) {
				r.At, r.Payload = at(1).UnixNano(), fmt.Sprintf(`{"records":[{"seq":2,"hash":"%x"}]}`, carried)
			})
			s.book.Open[own] = books.OpenLoan{}
		}},
		{"two segments", nil, "", func(s *story) {
			s.lend()
			s.segment(s.book.Head)
			s.giveBack()
		}},
		{"Active just before the API server was killed", nil, "", func(s *story) { s.lendUnheard(3.5) }},
		{"returned just before the API server was killed", nil, "", func(s *story) {
			s.lend()
			s.write(11, askedBack, nil)
			s.loan(11.1, nil, v1alpha1.LoanActive, v1alpha1.LoanReclaiming)
			s.write(17.8, done, nil)
			s.silent = 3.5
			s.loan(21.2, nil, v1alpha1.LoanActive, v1alpha1.LoanReclaiming, v1alpha1.LoanReturned)
			delete(s.book.Open, own)
		}},
		{"found at work by the next broker", nil, "", func(s *story) { s.lendLate(6, 1, 6.2) }},

		{"the book lost its last entry", map[match.Kind]int{match.AckedLost: 1, match.SilentGap: 1, match.Entries: 1}, "entry 5", func(s *story) {
			s.lend()
			s.giveBack()
			s.cut(4)
		}},
		{"a lost disk without a word", map[match.Kind]int{match.AckedLost: 5, match.SilentGap: 1}, "in no book", func(s *story) {
			s.lend()
			s.giveBack()
			s.lose()
		}},
		{"a gap that says too little", map[match.Kind]int{match.AckedLost: 1, match.SilentGap: 1}, "entry 5", func(s *story) {
			s.lend()
			s.giveBack()
			s.lose()
			s.gap(4)
		}},
		{"a gap about another ledger", map[match.Kind]int{match.AckedLost: 3, match.SilentGap: 1}, "in no book", func(s *story) {
			s.lend()
			s.giveBack()
			s.lose()
			s.write(30, gap, func(r *books.Record) { r.OpID, r.Payload = "gap-ff-9", `{"from":1,"to":9}` })
		}},
		{"an old copy that was written on", map[match.Kind]int{match.ChainBreak: 1, match.AckedLost: 1, match.SilentGap: 1}, "showed entry 5 with hash", func(s *story) {
			s.lend()
			s.giveBack()
			s.cut(4)
			s.write(40, done, func(r *books.Record) { r.Reason = "again" })
			s.book.Records[4].Time, s.book.Records[4].Mono = at(21.3).UnixNano(), 213e8
		}},
		{"an entry that only a Loan has shown", map[match.Kind]int{match.AckedLost: 1, match.SilentGap: 1}, "loan research/a-1 showed entry 9", func(s *story) {
			s.lend()
			s.loan(2, &books.Record{Seq: 9, Hash: [32]byte{9}}, v1alpha1.LoanActive)
		}},
		{"a damaged book", map[match.Kind]int{match.ChainBreak: 1}, "checksum", func(s *story) {
			s.book.Verdicts = []books.Verdict{{Law: books.Checksum, Seq: 1, What: "the checksum is wrong"}}
		}},
		{"an operation twice in a book", map[match.Kind]int{match.Duplicate: 1}, "operations", func(s *story) {
			s.book.Verdicts = []books.Verdict{{Law: books.Operations, Seq: 1}}
		}},
		{"two loans of a job in a book", map[match.Kind]int{match.DoubleLent: 1}, "one loan", func(s *story) {
			s.book.Verdicts = []books.Verdict{{Law: books.OneLoan, Seq: 1}}
		}},
		{"unbalanced accounts", map[match.Kind]int{match.Books: 1}, "balances", func(s *story) {
			s.book.Verdicts = []books.Verdict{{Law: books.Balances, Seq: 1}}
		}},
		{"a hole between segments", map[match.Kind]int{match.ChainBreak: 1}, "goes on after 9, and the file before ends with 3", func(s *story) {
			s.lend()
			s.segment(9)
			s.giveBack()
		}},
		{"an operation in two segments", map[match.Kind]int{match.Duplicate: 1}, "writes operation", func(s *story) {
			s.lend()
			s.segment(s.book.Head)
			s.write(9, granted, nil)
			s.giveBack()
			s.book.Records[0].Time, s.book.Records[0].Mono = at(1.3).UnixNano(), 13e8 // so that the bill is right
		}},
		{"a Loan without entries", map[match.Kind]int{match.AckedLost: 1}, "loan research/a-1 was made, and no book", func(s *story) { s.loan(1, nil) }},
		{"made before its intent", map[match.Kind]int{match.Entries: 1}, "was made 500ms before its LEND_INTENT", func(s *story) {
			s.loan(0.5, nil)
			s.lend()
		}},
		{"asked back without an entry", map[match.Kind]int{match.Entries: 1}, "was asked back, and no entry says so", func(s *story) {
			s.lend()
			s.loan(11.1, nil, v1alpha1.LoanActive, v1alpha1.LoanReclaiming)
		}},
		{"asked back before its intent", map[match.Kind]int{match.Entries: 1}, "was asked back 1s before", func(s *story) {
			s.lend()
			s.loan(10, nil, v1alpha1.LoanActive, v1alpha1.LoanReclaiming)
			s.giveBack()
		}},
		{"gone and not closed", map[match.Kind]int{match.Entries: 2}, "is over, and no entry closes it", func(s *story) {
			s.lend()
			s.gone(5)
		}},
		{"open and closed", map[match.Kind]int{match.Entries: 1}, "is open, and entry 4 closes it", func(s *story) {
			s.lend()
			s.write(5, done, nil)
		}},
		{"Active and not granted", map[match.Kind]int{match.Entries: 1}, "is Active, and no entry grants it", func(s *story) {
			first := s.write(1, intent, nil)
			s.loan(1.2, first, v1alpha1.LoanActive)
			s.book.Open[own] = books.OpenLoan{}
		}},
		{"open in the book alone", map[match.Kind]int{match.Entries: 1}, "loan research/b-1 is open in the books", func(s *story) { s.book.Open["research/b-1"] = books.OpenLoan{} }},
		{"billed too long", map[match.Kind]int{match.Billing: 1}, "the accounts have 1m28s of unit-time, and 1m20s were seen", func(s *story) {
			s.lend()
			s.giveBack()
			s.book.Records[4].Mono += 2e9
			s.book.Records[4].Hash = [32]byte{1}
			s.book.Hash = [32]byte{1}
			s.seen = match.NewSeen()
			s.loan(1.1, nil)
			s.loan(1.2, nil, v1alpha1.LoanActive)
			s.loan(11.1, nil, v1alpha1.LoanActive, v1alpha1.LoanReclaiming)
			s.loan(21.2, nil, v1alpha1.LoanActive, v1alpha1.LoanReclaiming, v1alpha1.LoanReturned)
		}},
		{"found at work, and billed for longer", map[match.Kind]int{match.Billing: 1}, "the accounts have 1m45.2s of unit-time, and 1m20.4s were seen", func(s *story) { s.lendLate(6, -5, 6.2) }},
		{"billed for longer than the API server was silent", map[match.Kind]int{match.Billing: 1}, "the accounts have 1m20s of unit-time, and 1m12s were seen", func(s *story) { s.lendUnheard(1.5) }},
		{"said to be Active, and billed since it was made", map[match.Kind]int{match.Billing: 1}, "the accounts have 1m21.2s of unit-time, and 1m0s were seen", func(s *story) { s.lendLate(6.4, 1, 6.2) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStory()
			test.play(s)
			got, texts := map[match.Kind]int{}, []string(nil)
			for _, f := range s.seen.Compare(s.paths, s.settled).Findings {
				got[f.Kind]++
				texts = append(texts, f.String())
			}
			same := len(got) == len(test.want)
			for kind, n := range test.want {
				same = same && got[kind] == n
			}
			if !same || !strings.Contains(strings.Join(texts, "\n"), test.text) {
				t.Errorf("got %v, want %v with %q:\n%s", got, test.want, test.text, strings.Join(texts, "\n"))
			}
		})
	}
}

// cut ends the book after an entry.
func (s *story) cut(n int) {
	s.book.Records = slices.Clone(s.book.Records[:n])
	s.book.Head, s.book.Hash = uint64(n), s.book.Records[n-1].Hash
}

// segment goes on in another file, which says that it goes on after base.
func (s *story) segment(base uint64) {
	next := &books.Finding{ID: ledgerID, Base: base, Head: base, Hash: s.book.Hash, Open: s.book.Open}
	s.book.Open = map[string]books.OpenLoan{}
	s.book = next
	s.paths = append([]match.Book{{Path: "ledger-2.db", Finding: next}}, s.paths...)
}

// A loan's bill is that of the watch, to the millisecond where both saw the same.
func TestBill(t *testing.T) {
	s := newStory()
	s.lend()
	s.giveBack()
	r := s.seen.Compare(s.paths, true)
	if r.Billed != 1 || r.Worst != 0 {
		t.Errorf("%d loans billed, off by %s; want one, and nothing: the accounts have 20 s from the grant to the end, and the watch 20 s between the conditions", r.Billed, r.Worst)
	}
}
