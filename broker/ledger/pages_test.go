package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
)

// many is a closed ledger of that many loans, each of three entries, written at once.
func many(t *testing.T, loans int) (path string, data []byte) {
	t.Helper()
	path = tempPath(t)
	l := openAt(t, path, Options{})
	var entries []Entry
	for n := 1; n <= loans; n++ {
		entries = append(entries, lent(LendIntent, n), follow(LendGranted, n, 1), follow(Preempted, n, 45))
	}
	if _, err := l.AppendAll(entries); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	return path, readFile(t, path)
}

// unreadable is a file of which one page cannot be read.
type unreadable struct {
	*bytes.Reader
	from, to int64
}

var errUnreadable = errors.New("input/output error")

func (u unreadable) ReadAt(b []byte, at int64) (int, error) {
	if at < u.to && at+int64(len(b)) > u.from {
		return 0, errUnreadable
	}
	return u.Reader.ReadAt(b, at)
}

// Pages are read many at once, and a fault is said of the page that has it all the same.
func TestFaultyPageIsNamed(t *testing.T) {
	_, data := many(t, 400)
	size := int64(len(data))
	if faults := checkPages(bytes.NewReader(data), size, false); len(faults) > 0 {
		t.Fatalf("a sound file: %v", faults)
	}
	h, _ := (&pageWalk{f: bytes.NewReader(data)}).header(size, false)
	named := func(text string, check func(from, to int64) []Fault) []uint64 {
		var pages []uint64
		for page := uint64(2); page < h.hwm; page++ {
			from := int64(page) * h.pageSize
			faults := check(from, from+h.pageSize)
			if len(faults) == 0 {
				continue // it is free
			}
			if want := fmt.Sprintf("page %d", page); faults[0].Where != want || !strings.Contains(faults[0].Text, text) {
				t.Errorf("%s of %s is told as %s", text, want, faults[0])
			}
			pages = append(pages, page)
		}
		return pages
	}
	lost := named("cannot be read", func(from, to int64) []Fault {
		return checkPages(unreadable{bytes.NewReader(data), from, to}, size, false)
	})
	damaged := named("its header is damaged", func(from, _ int64) []Fault {
		data[from] ^= 1
		defer func() { data[from] ^= 1 }()
		return checkPages(bytes.NewReader(data), size, false)
	})
	if diff := cmp.Diff(lost, damaged); diff != "" {
		t.Errorf("pages that cannot be read (-) and those with a damaged header (+):\n%s", diff)
	}
	if int64(len(lost)) <= aheadBytes/h.pageSize {
		t.Errorf("%d pages are in use, no more than what is read at once", len(lost))
	}
}

// Records are taken apart in blocks, beside each other; each fault is found, in the order of
// the log, wherever in a block it is.
func TestFaultsInEveryBlock(t *testing.T) {
	path, _ := many(t, 400)
	want := map[uint64]string{}
	editBolt(t, path, func(tx *bolt.Tx) error {
		log := tx.Bucket(bucketLog)
		for seq := uint64(3); seq < 1200; seq += blockLen/2 + 1 {
			raw := bytes.Clone(log.Get(seqKey(seq)))
			raw[int(seq)%len(raw)] ^= 1 << (seq % 8)
			want[seq] = fmt.Sprintf("entry %d: record checksum does not match", seq)
			if err := log.Put(seqKey(seq), raw); err != nil {
				return err
			}
		}
		return nil
	})
	report, err := quickCheck(path)
	if err != nil {
		t.Fatal(err)
	}
	if report.FaultCount != len(want) || report.Entries != 1200-uint64(len(want)) {
		t.Errorf("%d faults and %d sound entries, want %d and the others", report.FaultCount, report.Entries, len(want))
	}
	first := slices.Sorted(maps.Keys(want))[:len(report.Faults)]
	for i, f := range report.Faults {
		if f.String() != want[first[i]] {
			t.Errorf("fault %d is %q, want %q", i, f, want[first[i]])
		}
	}
}
