package ledger

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// model is a second, slower ledger: it keeps the entries and derives everything
// from them anew each time.
type model struct {
	entries []Entry
}

func (m *model) find(opID string, kind Kind) *Entry {
	for i := range m.entries {
		if m.entries[i].OpID == opID && m.entries[i].Kind == kind {
			return &m.entries[i]
		}
	}
	return nil
}

// kinds is the loan's history without what changes no state, as one text.
func (m *model) kinds(loan string) string {
	var history string
	for _, e := range m.entries {
		if e.Loan == loan && e.Kind.moves() && !stays(e.Kind) {
			history += " " + e.Kind.String()
		}
	}
	return history
}

// stays tells whether entries of the kind leave their loan's state as it is.
func stays(k Kind) bool {
	return slices.Contains([]Kind{ShedIntent, Shed, ShedLost, Stopped, Killed}, k)
}

// histories are all that a loan's history may be.
var histories = func() map[string]bool {
	out := map[string]bool{}
	add := func(h string) string { out[h] = true; return h }
	ends := []string{" RELEASED", " PREEMPTED", " LOST"}
	add(" LEND_INTENT LEND_ABORTED")
	for _, open := range []string{" LEND_INTENT LEND_GRANTED", " RECOVERED"} {
		add(" LEND_INTENT")
		add(open)
		reclaiming := add(open + " RECLAIM_INTENT")
		add(reclaiming + " RECLAIM_DONE")
		for _, before := range []string{open, reclaiming} {
			quarantined := add(before + " QUARANTINED")
			add(quarantined + " UNQUARANTINED")
			add(quarantined + " LOST")
		}
		for _, end := range ends {
			add(open + end)
			add(reclaiming + end)
		}
	}
	return out
}()

func isOpen(history string) bool {
	for _, end := range []string{"ABORTED", "DONE", "RELEASED", "PREEMPTED", "LOST", "UNQUARANTINED"} {
		if len(history) >= len(end) && history[len(history)-len(end):] == end {
			return false
		}
	}
	return history != ""
}

// judge is what Append must say to a new entry.
func (m *model) judge(e Entry) error {
	if first := m.find(e.OpID, e.Kind); first != nil {
		if first.Loan != e.Loan || first.Corrects != e.Corrects || (e.Job != "" && e.Job != first.Job) || (e.JobUID != "" && e.JobUID != first.JobUID) {
			return ErrOpReused
		}
		return nil
	}
	for _, old := range m.entries {
		if old.Epoch > e.Epoch {
			return ErrStaleEpoch
		}
	}
	switch e.Kind {
	case Refused, EpochStart, Gap, PolicyMissing, PolicyBack:
		return nil
	case Checkpoint, Correction, SegmentStart, Carried:
		return m.judgeNote(e)
	}
	if e.Kind.Reshapes() {
		return m.judgeReshape(e)
	}
	if opens(e.Kind) {
		for _, old := range m.entries {
			if opens(old.Kind) && old.JobUID == e.JobUID && old.Loan != e.Loan && isOpen(m.kinds(old.Loan)) {
				return ErrOpenLoan
			}
		}
	}
	if stays(e.Kind) {
		history := m.kinds(e.Loan)
		granted := strings.HasSuffix(history, " LEND_GRANTED") || history == " RECOVERED"
		asked := (strings.HasSuffix(history, " RECLAIM_INTENT") || strings.HasSuffix(history, " QUARANTINED")) && (e.Kind == Stopped || e.Kind == Killed)
		switch {
		case !granted && !asked:
			return ErrTransition
		case e.Kind.Sheds() && !isPart(e.Grants, m.held(e.Loan)):
			return ErrInvalid
		}
		return nil
	}
	if !histories[m.kinds(e.Loan)+" "+e.Kind.String()] {
		return ErrTransition
	}
	return nil
}

// reshape is a reshape's history, as one text.
func (m *model) reshape(id string) string {
	var history string
	for _, e := range m.entries {
		if e.OpID == id && e.Kind.Reshapes() {
			history += " " + e.Kind.String()
		}
	}
	return history
}

func (m *model) judgeReshape(e Entry) error {
	const intent, done = " RESHAPE_INTENT", " RESHAPE_INTENT RESHAPE_DONE"
	switch history := m.reshape(e.OpID); {
	case e.Kind == ReshapeIntent, history == intent, history == done && e.Kind != ReshapeDone:
		return nil
	}
	return ErrTransition
}

// judgeNote judges what is about no loan. No file of the model begins with what it carries.
func (m *model) judgeNote(e Entry) error {
	switch {
	case e.Kind == Correction && e.Corrects > uint64(len(m.entries)):
		return ErrInvalid
	case e.Kind == Checkpoint && !strings.Contains(string(e.Payload), fmt.Sprintf(`"seq":%d,`, len(m.entries))):
		return ErrInvalid
	case e.Kind == SegmentStart && len(m.entries) > 0, e.Kind == Carried:
		return ErrTransition
	}
	return nil
}

// tenants are those of the lenders, as the loan's first entry told them.
func (m *model) tenants(loan string) map[string]string {
	for _, e := range m.entries {
		if e.Loan == loan && opens(e.Kind) && strings.Contains(string(e.Payload), "lenders") {
			return lendersInModel
		}
	}
	return nil
}

var lendersInModel = map[string]string{"s/x": "a", "s/y": "c"}

// held is what the loan's last entry with grants says.
func (m *model) held(loan string) []Grant {
	for _, e := range slices.Backward(m.entries) {
		if e.Loan == loan && len(e.Grants) > 0 {
			return e.Grants
		}
	}
	return nil
}

// count adds up grants unit by unit.
func count(grants []Grant) map[Grant]int64 {
	out := map[Grant]int64{}
	for _, g := range grants {
		out[Grant{Lender: g.Lender, Node: g.Node, Flavor: g.Flavor}] += g.Count
	}
	return out
}

// isPart tells whether some are less than all, and nowhere more.
func isPart(some, all []Grant) bool {
	a, b := count(some), count(all)
	less := false
	for key, n := range a {
		if n > b[key] {
			return false
		}
	}
	for key, n := range b {
		less = less || a[key] < n
	}
	return less
}

// since is how long after another entry, in milliseconds, by the clock that counts.
func since(from, to Entry) int64 {
	d := to.Time.Sub(from.Time)
	if from.BootID == to.BootID {
		d = time.Duration(to.MonoNS - from.MonoNS)
	}
	return max(0, d.Milliseconds())
}

// balances are computed loan by loan from the whole history.
func (m *model) balances() map[Balance]int64 {
	sums := map[Balance]int64{}
	post := func(side AccountSide, name, flavor string, amount int64) {
		sums[Balance{Account: Account{side, name}, Flavor: flavor}] += amount
	}
	for _, end := range m.entries {
		if end.Kind == Correction && len(end.Payload) > 0 {
			post(BorrowerAccount, "a", "h100", -7)
			post(LenderAccount, "s/x", "h100", 7)
		}
		if !slices.Contains([]Kind{ReclaimDone, Released, Preempted, Lost, Shed, ShedLost, Unquarantined}, end.Kind) {
			continue
		}
		var start, quarantine Entry
		ends := map[Grant]int64{} // what the loan had until this entry, and has not after it
		for _, e := range m.entries {
			if e.Loan == end.Loan && (e.Kind == LendGranted || e.Kind == Recovered) {
				start = e
			}
			if e.Loan == end.Loan && e.Kind == Quarantined {
				quarantine = e
			}
			if e.Loan == end.Loan && e.Seq < end.Seq && len(e.Grants) > 0 {
				ends = count(e.Grants)
			}
		}
		if end.Kind.Sheds() {
			for key, n := range count(end.Grants) {
				ends[key] -= n
			}
		}
		all := since(start, end)
		heard, kept := all, all
		if strings.Contains(string(end.Payload), "lastHeard") {
			heard = min(all, max(0, heardInModel(end).Sub(start.Time).Milliseconds()))
		}
		if quarantine.Seq != 0 {
			kept = min(all, since(start, quarantine))
		}
		for g, n := range ends {
			if g.Lender == "" || n == 0 {
				continue
			}
			post(LenderAccount, g.Lender, g.Flavor, n*all)
			post(BorrowerAccount, start.Borrower, g.Flavor, -n*min(kept, heard))
			if heard > kept {
				post(QuarantineAccount, "", g.Flavor, -n*(heard-kept))
			}
			if all > heard {
				post(LostAccount, "", g.Flavor, -n*(all-heard))
			}
		}
	}
	return sums
}

// heardInModel is when a lost node was last heard of.
func heardInModel(e Entry) time.Time { return e.Time.Add(-5 * time.Second) }

// checkMonths compares the rows of months with the balances: they are the same amounts.
func (m *model) checkMonths(t *rapid.T, l *Ledger) {
	sums := map[Balance]int64{}
	type of struct {
		flavor string
		month  int32
	}
	owed := map[of]int64{} // lent, and nobody's
	for key, a := range l.state.months {
		owed[of{key.flavor, key.month}] += a.Lent.UnitMS - a.Borrowed.UnitMS - a.Lost.UnitMS - a.Quarantined.UnitMS
		sums[Balance{Account: Account{"lent", ""}, Flavor: key.flavor}] += a.Lent.UnitMS
		sums[Balance{Account: Account{BorrowerAccount, key.tenant}, Flavor: key.flavor}] -= a.Borrowed.UnitMS
		if a.Reclaimed.UnitMS > a.Borrowed.UnitMS && a.Borrowed.UnitMS > 100 || key.month < 202603 || key.month > 202703 {
			t.Fatalf("row %+v is %+v", key, a)
		}
	}
	for _, b := range balances(l) {
		switch b.Account.Side {
		case LenderAccount:
			sums[Balance{Account: Account{"lent", ""}, Flavor: b.Flavor}] -= b.UnitMS
		case BorrowerAccount:
			sums[Balance{Account: b.Account, Flavor: b.Flavor}] -= b.UnitMS
		}
	}
	for key, sum := range owed {
		if sum != 0 {
			t.Fatalf("in %d all lent %d unit-ms of %s more than all borrowed, lost and have in quarantine", key.month, sum, key.flavor)
		}
	}
	for key, sum := range sums {
		if sum != 0 {
			t.Fatalf("months and balances of %+v differ by %d", key, sum)
		}
	}
}

func (m *model) check(t *rapid.T, l *Ledger) {
	want, sums := m.balances(), map[string]int64{}
	for _, b := range balances(l) {
		if got := want[Balance{Account: b.Account, Flavor: b.Flavor}]; got != b.UnitMS {
			t.Fatalf("balance %+v, the model has %d", b, got)
		}
		delete(want, Balance{Account: b.Account, Flavor: b.Flavor})
		sums[b.Flavor] += b.UnitMS
	}
	if len(want) > 0 {
		t.Fatalf("balances are missing: %v", want)
	}
	for flavor, sum := range sums {
		if sum != 0 {
			t.Fatalf("balances of %s add up to %d after %d entries", flavor, sum, len(m.entries))
		}
	}
	m.checkMonths(t, l)
	var open []string
	for _, loan := range l.OpenLoans() {
		open = append(open, loan.Loan)
	}
	var wantOpen []string
	for i := range loansInModel {
		if name := loanName(i); isOpen(m.kinds(name)) {
			wantOpen = append(wantOpen, name)
		}
	}
	if !slices.Equal(open, wantOpen) {
		t.Fatalf("open loans are %v, the model has %v", open, wantOpen)
	}
	reshapes := map[string]bool{}
	for _, r := range l.OpenReshapes() {
		reshapes[r.ID] = true
		if history := m.reshape(r.ID); r.Made != strings.HasSuffix(history, "DONE") || strings.HasSuffix(history, "UNDONE") || strings.HasSuffix(history, "FAILED") {
			t.Fatalf("reshape %+v is open, the model has%s", r, history)
		}
	}
	for _, e := range m.entries {
		if history := m.reshape(e.OpID); (history == " RESHAPE_INTENT" || history == " RESHAPE_INTENT RESHAPE_DONE") && !reshapes[e.OpID] {
			t.Fatalf("reshape %s is not open, the model has%s", e.OpID, history)
		}
	}
}

// compare reads everything back, in every way.
func (m *model) compare(t *rapid.T, l *Ledger) {
	got, err := l.Read(0, 0)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	if diff := cmp.Diff(m.entries, got); diff != "" {
		t.Fatalf("entries (-model +ledger):\n%s", diff)
	}
	for i := range loansInModel {
		name := loanName(i)
		got, err := l.ByLoan(name)
		want := selectEntries(m.entries, func(e Entry) bool { return e.Loan == name })
		if err != nil || !cmp.Equal(want, got) {
			t.Fatalf("ByLoan %s: %v\n%s", name, err, cmp.Diff(want, got))
		}
	}
	for _, tenant := range []string{"a", "b", "c"} {
		got, err := l.ByTenant(tenant, 3, 0)
		want := selectEntries(m.entries, func(e Entry) bool {
			if e.Seq < 3 || e.Borrower == tenant {
				return e.Seq >= 3
			}
			before := &model{m.entries[:e.Seq]}
			lenders := slices.Collect(maps.Values(before.tenants(e.Loan)))
			open := e.Kind.moves() || isOpen((&model{m.entries[:e.Seq-1]}).kinds(e.Loan))
			return open && slices.Contains(lenders, tenant)
		})
		if err != nil || !cmp.Equal(want, got) {
			t.Fatalf("ByTenant %s: %v\n%s", tenant, err, cmp.Diff(want, got))
		}
	}
}

func selectEntries(all []Entry, keep func(Entry) bool) []Entry {
	var out []Entry
	for _, e := range all {
		if keep(e) {
			out = append(out, e)
		}
	}
	return out
}

const loansInModel = 7

func loanName(i int) string { return fmt.Sprintf("ns/loan-%d", i) }

// drawOp makes an entry that is valid by itself but often not in its place.
func drawOp(t *rapid.T, m *model, at *moment) Entry {
	at.wall += rapid.Int64Range(-2e9, 10e9).Draw(t, "wall step")
	at.mono += rapid.Int64Range(0, 10e9).Draw(t, "mono step")
	if rapid.IntRange(0, 9).Draw(t, "days") == 0 {
		at.wall, at.mono = at.wall+5*86400e9, at.mono+5*86400e9
	}
	i := rapid.IntRange(0, loansInModel-1).Draw(t, "loan")
	e := Entry{
		Kind:  rapid.SampledFrom(Kinds()).Draw(t, "kind"),
		Epoch: rapid.SampledFrom([]int64{1, 1, 1, 1, 1, 1, 1, 1, 0, 2}).Draw(t, "epoch"),
		Time:  time.Unix(0, at.wall).UTC(), MonoNS: at.mono, BootID: at.boot,
		OpID: fmt.Sprintf("op-%d", rapid.IntRange(0, 60).Draw(t, "op")),
	}
	switch e.Kind {
	case EpochStart, PolicyMissing, PolicyBack:
	case Gap:
		e.Payload = []byte(`{"from":7,"to":9,"why":"the file is an old copy"}`)
	case Checkpoint:
		seq, hash := uint64(len(m.entries)), Hash{}
		if seq == 0 || rapid.IntRange(0, 3).Draw(t, "odd") == 0 {
			seq = 999
		} else {
			hash = m.entries[seq-1].Hash
		}
		e.Payload = fmt.Appendf(nil, `{"seq":%d,"hash":"%s"}`, seq, hash)
	case SegmentStart:
		e.Payload = []byte(`{"month":"2026-03","open":0,"accounts":0}`)
	case Carried:
		e.Payload = []byte(`{"account":{"account":"lost","flavor":"h100","unitMS":0}}`)
	case Correction:
		e.Corrects, e.Message = uint64(1+rapid.IntRange(0, len(m.entries)).Draw(t, "corrects")), "it was otherwise"
		if rapid.Bool().Draw(t, "of a loan") {
			e.Loan = loanName(i)
		}
		if rapid.Bool().Draw(t, "posts") {
			e.Payload = []byte(`{"postings":[{"account":"borrower/a","flavor":"h100","unitMS":-7},{"account":"lender/s/x","flavor":"h100","unitMS":7,"tenant":"a"}]}`)
		}
	case Lost:
		e.Loan = loanName(i)
		if rapid.Bool().Draw(t, "last heard") {
			e.Payload = fmt.Appendf(nil, `{"lastHeard":%q}`, heardInModel(e).Format(time.RFC3339Nano))
		}
	case Refused:
		e.Job, e.Borrower = "ns/job", "b"
	case LendIntent, Recovered:
		job := i % 5 // some loans are of the same job
		e.Loan, e.Job, e.JobUID = loanName(i), fmt.Sprintf("ns/job-%d", job), fmt.Sprint(job)
		e.Borrower = []string{"a", "b"}[job%2]
		for range rapid.IntRange(1, 3).Draw(t, "grants") {
			e.Grants = append(e.Grants, Grant{
				Lender: rapid.SampledFrom([]string{"", "s/x", "s/y"}).Draw(t, "lender"), Node: "n",
				Flavor: rapid.SampledFrom([]string{"h100", "a100"}).Draw(t, "flavor"), Count: rapid.Int64Range(1, 8).Draw(t, "count"),
			})
		}
		if rapid.Bool().Draw(t, "tells lenders") {
			e.Payload = []byte(`{"lenders":{"s/x":"a","s/y":"c"},"queue":"ns/q"}`)
		}
	case ReshapeIntent, ReshapeDone, ReshapeUndone, ReshapeFailed:
		e.OpID = fmt.Sprintf("reshape-%d", i)
		e.Payload = []byte(`{"node":"n"}`)
	case Shed, ShedLost:
		e.Loan = loanName(i)
		e.Grants = drawPart(t, m.held(e.Loan))
	default:
		e.Loan = loanName(i)
	}
	return e
}

// drawPart is mostly a part of the grants.
func drawPart(t *rapid.T, held []Grant) []Grant {
	part := slices.Clone(held)
	for i := range part {
		part[i].Count += rapid.Int64Range(-4, 0).Draw(t, "shed")
	}
	part = slices.DeleteFunc(part, func(g Grant) bool { return g.Count <= 0 })
	if len(part) == 0 || rapid.IntRange(0, 9).Draw(t, "odd") == 0 {
		part = append(part, Grant{Lender: "s/x", Node: "n", Flavor: "h100", Count: 1})
	}
	return part
}

// Every kind in every state, against the list of histories.
func TestEveryTransition(t *testing.T) {
	allowed := 0
	for history := range histories {
		for _, kind := range Kinds() {
			if kind.moves() && !stays(kind) && tryAfter(t, strings.Fields(history), kind) {
				allowed++
			}
		}
	}
	// Each history but the two openings is one move after a shorter one.
	if want := len(histories) - 2; allowed != want {
		t.Errorf("%d moves are allowed, want %d", allowed, want)
	}
}

// tryAfter plays a history and tells whether the kind was accepted after it.
func tryAfter(t *testing.T, history []string, kind Kind) bool {
	l := openAt(t, tempPath(t), Options{})
	entry := func(k Kind, op string) Entry {
		e := follow(k, 1, 1)
		if opens(k) {
			e = lent(k, 1)
		}
		e.OpID = op
		return e
	}
	for i, name := range history {
		var k Kind
		if err := k.UnmarshalText([]byte(name)); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, entry(k, fmt.Sprint(i)))
	}
	_, err := l.Append(entry(kind, "last"))
	want := histories[" "+strings.Join(append(history, kind.String()), " ")]
	if want != (err == nil) || (err != nil && !errors.Is(err, ErrTransition)) {
		t.Errorf("%s after %v: %v, want it accepted: %v", kind, history, err, want)
	}
	return err == nil
}

// Random operations against the model, the file being closed, checked and opened
// again at random points.
func TestAgainstModel(t *testing.T) {
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		path := filepath.Join(dir, fmt.Sprintf("%d.db", run))
		defer os.Remove(path)
		l, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { l.Close() }()
		m, at := &model{}, &moment{wall: t0.UnixNano(), boot: "boot-0"}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 19).Draw(t, "reopen") == 0 {
				l = reopen(t, l, path)
				*at = moment{wall: at.wall, boot: at.boot + "+"}
			}
			e := drawOp(t, m, at)
			want := m.judge(e)
			got, err := l.Append(e)
			if !errors.Is(err, want) {
				t.Fatalf("Append %s of %s, history%s: %v, want %v", e.Kind, e.Loan, m.kinds(e.Loan), err, want)
			}
			if first := m.find(e.OpID, e.Kind); err == nil && first != nil {
				if diff := cmp.Diff(*first, got); diff != "" {
					t.Fatalf("repeated operation (-first +again):\n%s", diff)
				}
			} else if err == nil {
				if got.Seq != uint64(len(m.entries)+1) {
					t.Fatalf("entry has number %d, want %d", got.Seq, len(m.entries)+1)
				}
				m.entries = append(m.entries, got)
			}
			m.check(t, l)
		}
		m.compare(t, l)
		l = reopen(t, l, path)
		m.check(t, l)
		m.compare(t, l)
	})
}

func reopen(t *rapid.T, l *Ledger, path string) *Ledger {
	open, reshapes := l.OpenLoans(), l.OpenReshapes()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if report, err := quickCheck(path); err != nil || !report.OK() {
		t.Fatalf("Check: %v %v", err, report)
	}
	l, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(open, l.OpenLoans(), cmp.AllowUnexported(OpenLoan{}, moment{})); diff != "" {
		t.Fatalf("open loans after reopening:\n%s", diff)
	}
	if diff := cmp.Diff(reshapes, l.OpenReshapes()); diff != "" {
		t.Fatalf("open reshapes after reopening:\n%s", diff)
	}
	return l
}
