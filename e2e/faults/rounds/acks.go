package rounds

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/faults/stage"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/witness/books"
)

// Where the broker publishes how far its ledger is, as docs/reference/ledger.md says.
const (
	publishedLease  = "ebbtide-ledger"
	annotationHead  = "ebbtide.dev/ledger-head"
	annotationEpoch = "ebbtide.dev/ledger-epoch"
)

// The numbers of the kinds GAP and RECOVERED.
const (
	gapKind       = 22
	recoveredKind = 10
)

// acks are the entries that somebody other than the ledger's volume was shown: the heads
// that were published, and what Loans carried.
type acks struct {
	town *stage.Town
	// shown are their hashes by number, of the file that is.
	shown map[uint64]string
	epoch int64
	// owed are the numbers that were shown of files that were destroyed since, of which a GAP
	// has to tell, or a RECOVERED.
	owed map[uint64]bool
}

// look takes note of what is shown now. An API server that does not answer shows nothing.
func (a *acks) look(ctx context.Context) {
	lease, err := a.town.Client().CoordinationV1().Leases(lab.SystemNamespace).Get(ctx, publishedLease, metav1.GetOptions{})
	if err == nil {
		a.head(lease.Annotations)
	}
	var loans v1alpha1.LoanList
	if err := a.town.API.List(ctx, &loans); err != nil {
		return
	}
	for i := range loans.Items {
		if loans.Items[i].Status.Epoch != a.epoch {
			continue // what it carries may be of a file that is gone
		}
		for _, r := range loans.Items[i].Status.Records {
			a.shown[uint64(r.Seq)] = r.Hash
		}
	}
}

func (a *acks) head(annotations map[string]string) {
	seq, hash, _ := strings.Cut(annotations[annotationHead], ":")
	epoch, err := strconv.ParseInt(annotations[annotationEpoch], 10, 64)
	n, err2 := strconv.ParseUint(seq, 10, 64)
	if err != nil || err2 != nil || epoch < a.epoch {
		return
	}
	a.epoch = epoch
	a.shown[n] = hash
}

// destroyed: the file is gone that all of it was in.
func (a *acks) destroyed() {
	a.owed = map[uint64]bool{} // what a GAP told of a file before this one is in a GAP's range
	for seq := range a.shown {
		a.owed[seq] = true
	}
	clear(a.shown)
	a.epoch++ // what the last leader wrote is of that file
}

// judge compares a file with what was shown. settled tells whether a leader has begun with it:
// then it must say what is missing.
func (a *acks) judge(file []byte, settled bool) (t tally) {
	f := books.Judge(file)
	for _, v := range f.Verdicts {
		if v.Law == books.Operations || v.Law == books.OneLoan {
			t.Duplicates++
		} else {
			t.ChainBreaks++
		}
		t.find("%s", v)
	}
	for _, seq := range slices.Sorted(maps.Keys(a.shown)) {
		at, has := slices.BinarySearchFunc(f.Records, seq, func(r books.Record, seq uint64) int { return cmp.Compare(r.Seq, seq) })
		if !has || hex.EncodeToString(f.Records[at].Hash[:]) != a.shown[seq] {
			t.AckedLost++
			t.find("entry %d with hash %.12s was shown, and the ledger, which ends with %d, does not have it", seq, a.shown[seq], f.Head)
		}
	}
	if silent := a.silent(f); settled && len(silent) > 0 {
		t.SilentGaps++
		t.find("a ledger was destroyed of which entries %v were shown, and neither a GAP nor a RECOVERED of the new one, which has %d entries, tells of them", silent, len(f.Records))
	}
	return t
}

// silent are the numbers that are owed and not told of.
func (a *acks) silent(f *books.Finding) []uint64 {
	left := maps.Clone(a.owed)
	for i := range f.Records {
		var said struct {
			From, To uint64
			Records  []struct{ Seq uint64 }
		}
		e := &f.Records[i]
		if e.Kind != gapKind && e.Kind != recoveredKind || json.Unmarshal([]byte(e.Payload), &said) != nil {
			continue
		}
		maps.DeleteFunc(left, func(seq uint64, _ bool) bool { return e.Kind == gapKind && said.From <= seq && seq <= said.To })
		for _, r := range said.Records {
			delete(left, r.Seq)
		}
	}
	return slices.Sorted(maps.Keys(left))
}

// tally counts what was found.
type tally struct {
	AckedLost, Duplicates, DoubleLent, SilentGaps, ChainBreaks int
	findings                                                   []string
}

func (t *tally) find(text string, args ...any) {
	t.findings = append(t.findings, fmt.Sprintf(text, args...))
}
