package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestNotesHaveRules(t *testing.T) {
	l := openAt(t, tempPath(t), Options{})
	fill(t, l, 4)
	seq, hash := l.Head()
	before := fmt.Sprint(l.OpenLoans(), balances(l))
	for name, tc := range map[string]struct {
		kind    Kind
		payload string
		want    error
		text    string
	}{
		"gap without numbers":     {Gap, `{"why":"x"}`, ErrInvalid, "needs from, to"},
		"gap backwards":           {Gap, `{"from":9,"to":8,"why":"x"}`, ErrInvalid, "needs from, to"},
		"gap for no reason":       {Gap, `{"from":9,"to":9}`, ErrInvalid, "and why"},
		"gap with another word":   {Gap, `{"from":9,"to":9,"why":"x","until":1}`, ErrInvalid, `unknown field "until"`},
		"checkpoint of elsewhere": {Checkpoint, fmt.Sprintf(`{"seq":%d,"hash":"%s"}`, seq, Hash{}), ErrInvalid, "but the head is"},
		"checkpoint of before":    {Checkpoint, fmt.Sprintf(`{"seq":%d,"hash":"%s"}`, seq-1, hash), ErrInvalid, "but the head is"},
		"checkpoint of other totals": {Checkpoint, fmt.Sprintf(`{"seq":%d,"hash":"%s","totals":[{"account":"borrower/research","flavor":"h100","unitMS":1}]}`, seq, hash),
			ErrInvalid, "the balance is"},
		"segment in the middle": {SegmentStart, `{"month":"2026-11","open":0,"accounts":0}`, ErrTransition, "is the first entry of a file"},
		"segment of no month":   {SegmentStart, `{"month":"x","open":0,"accounts":0}`, ErrInvalid, "is not of the form"},
		"carried by nobody":     {Carried, `{"account":{"account":"lost","flavor":"h100","unitMS":0}}`, ErrTransition, "follows SEGMENT_START"},
	} {
		_, err := l.Append(Entry{Kind: tc.kind, OpID: name, Epoch: 1, Payload: []byte(tc.payload)})
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %v, want %v with %q", name, err, tc.want, tc.text)
		}
	}
	for _, kind := range []Kind{Gap, Checkpoint, SegmentStart, Carried, PolicyMissing, PolicyBack} {
		if _, err := l.Append(Entry{Kind: kind, OpID: "about a loan", Epoch: 1, Loan: "research/loan-2", Payload: []byte(`{}`)}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s about a loan: %v", kind, err)
		}
	}
	stated := CheckpointPayload{Seq: seq, Hash: hash}
	for _, b := range balances(l) {
		stated.Totals = append(stated.Totals, Posting{Account: b.Account, Flavor: b.Flavor, UnitMS: b.UnitMS})
	}
	payload, err := json.Marshal(stated)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, Entry{Kind: Checkpoint, OpID: "now", Epoch: 1, Payload: payload}) // it is of the head, so it comes first
	mustAppend(t, l, Entry{Kind: PolicyMissing, OpID: "now", Epoch: 1})
	mustAppend(t, l, Entry{Kind: PolicyBack, OpID: "now", Epoch: 1})
	mustAppend(t, l, Entry{Kind: Gap, OpID: "now", Epoch: 1, Payload: []byte(`{"from":70,"to":80,"why":"x"}`)})
	if after := fmt.Sprint(l.OpenLoans(), balances(l)); after != before {
		t.Errorf("a note changed what is open or the balances:\n%s\n%s", before, after)
	}
}

func TestCorrectionsPost(t *testing.T) {
	path := tempPath(t)
	l := openAt(t, path, Options{})
	fill(t, l, 3)
	correct := func(op, postings string) error {
		_, err := l.Append(Entry{Kind: Correction, OpID: op, Epoch: 1, Corrects: 2, Message: "an hour too much", Time: t0,
			Payload: []byte(`{"postings":[` + postings + `]}`)})
		return err
	}
	for name, postings := range map[string]string{
		"do not add up":  `{"account":"borrower/research","flavor":"h100","unitMS":5}`,
		"other flavors":  `{"account":"borrower/research","flavor":"h100","unitMS":5},{"account":"lender/serving/chat","flavor":"a100","unitMS":-5}`,
		"no such side":   `{"account":"bank/research","flavor":"h100","unitMS":0}`,
		"named lost":     `{"account":"lost/research","flavor":"h100","unitMS":0}`,
		"nameless":       `{"account":"lender","flavor":"h100","unitMS":0}`,
		"no flavor":      `{"account":"lost","unitMS":0}`,
		"more than fits": `{"account":"lost","flavor":"h100","unitMS":9223372036854775807},{"account":"quarantine","flavor":"h100","unitMS":-9223372036854775807}`,
	} {
		if err := correct(name, postings); !errors.Is(err, ErrInvalid) {
			t.Errorf("postings that %s: %v", name, err)
		}
	}
	before := totals(t, l, "2026-03", "research").Borrowed.UnitMS
	err := correct("right", `{"account":"borrower/research","flavor":"h100","unitMS":1000},{"account":"lender/serving/chat","flavor":"h100","unitMS":-600,"tenant":"online"},{"account":"lost","flavor":"h100","unitMS":-400,"tenant":"online"}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, again := range []bool{false, true} {
		if again {
			mustClose(t, l)
			l = openAt(t, path, Options{})
		}
		if got := totals(t, l, "2026-03", "research").Borrowed.UnitMS; got != before-1000 {
			t.Errorf("the borrower's month has %d, had %d", got, before)
		}
		if got := totals(t, l, "2026-03", "online"); got.Lent.UnitMS != -600 || got.Lost.UnitMS != 400 {
			t.Errorf("the lender's month has %+v", got)
		}
		for flavor, sum := range l.state.sums() {
			if sum != 0 {
				t.Errorf("balances of %s add up to %d", flavor, sum)
			}
		}
	}
}

// A file that goes on where another ended has all that was open, and nothing may come
// between.
func TestSegmentCarriesWhatIsOpen(t *testing.T) {
	l := openAt(t, tempPath(t), Options{})
	mustAppend(t, l, Entry{Kind: SegmentStart, OpID: "s", Epoch: 1, Payload: []byte(`{"month":"2026-04","open":0,"accounts":2}`)})
	if _, err := l.Append(lent(LendIntent, 1)); !errors.Is(err, ErrTransition) || !strings.Contains(err.Error(), "2 CARRIED must follow") {
		t.Errorf("a loan before what is carried: %v", err)
	}
	carry := func(op, account string, ms int) error {
		_, err := l.Append(Entry{Kind: Carried, OpID: op, Epoch: 1, Payload: fmt.Appendf(nil, `{"account":{"account":%q,"flavor":"h100","unitMS":%d}}`, account, ms)})
		return err
	}
	if err := carry("c1", "borrower/a", -5); err != nil {
		t.Fatal(err)
	}
	if err := carry("c2", "borrower/a", 5); !errors.Is(err, ErrInvalid) {
		t.Errorf("the same account twice: %v", err)
	}
	if err := carry("c3", "lender/s/x", 4); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "adds up to -1") {
		t.Errorf("accounts that do not add up: %v", err)
	}
	if err := carry("c4", "lender/s/x", 5); err != nil {
		t.Fatal(err)
	}
	if err := carry("c5", "lender/s/y", 0); !errors.Is(err, ErrTransition) {
		t.Errorf("more than was said: %v", err)
	}
	mustAppend(t, l, lent(LendIntent, 1))
	if report, err := l.Verify(); err != nil || !report.OK() {
		t.Errorf("Verify: %v %v", err, report)
	}
}
