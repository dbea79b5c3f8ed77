package books

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// standing is all that a file hands to the one after it.
type standing struct {
	loans    map[string]loan // open ones
	closed   map[string]bool // names of those that ended in this file
	balances map[Account]int64
	reshapes map[string]bool
}

func (r *replay) standing() *standing {
	s := &standing{loans: map[string]loan{}, closed: map[string]bool{}, balances: maps.Clone(r.f.Balances), reshapes: maps.Clone(r.reshapes)}
	for name, l := range r.loans {
		if l.State == Closed {
			s.closed[name] = true
			continue
		}
		copied := *l
		copied.tenants = maps.Clone(l.tenants)
		maps.DeleteFunc(copied.tenants, func(_, tenant string) bool { return tenant == "" })
		if len(copied.tenants) == 0 {
			copied.tenants = nil
		}
		if copied.State != Quarantine {
			copied.aside = moment{}
		}
		s.loans[name] = copied
	}
	return s
}

// JudgeFiles judges the files of one ledger, oldest first: each by itself, and that each
// begins where the one before ends and carries what was open there. The finding is the
// newest file's, with the records of all.
func JudgeFiles(files [][]byte) *Finding {
	var all *Finding
	closed := map[string]uint64{} // loans that ended, by the head of their file
	operations := map[operation]uint64{}
	for i, file := range files {
		f := Judge(file)
		for v := range f.Verdicts {
			f.Verdicts[v].What = fmt.Sprintf("file %d of %d: %s", i+1, len(files), f.Verdicts[v].What)
		}
		if all != nil {
			f.follows(all)
			f.repeats(operations, closed)
			f.Verdicts = append(all.Verdicts, f.Verdicts...)
			f.Records, f.Base = append(all.Records, f.Records...), all.Base
		}
		maps.Copy(operations, f.operations)
		if f.ended != nil {
			for name := range f.ended.closed {
				closed[name] = f.Head
			}
		}
		all = f
	}
	return all
}

// follows compares how a file begins with how the one before ended.
func (f *Finding) follows(old *Finding) {
	if f.ID != old.ID || f.ClusterUID != old.ClusterUID {
		f.guilty(Chain, 0, "the file is of ledger %x, and the one before of %x", f.ID, old.ID)
	}
	if f.Base != old.Head || f.before != old.Hash {
		f.guilty(Chain, f.Base, "is what the file says that it follows, with hash %x; the one before ends with %d and %x", f.before[:8], old.Head, old.Hash[:8])
		return
	}
	if n := len(old.Records); n == 0 || old.Records[n-1].Kind != checkpoint {
		f.guilty(States, old.Head, "is the last of its file, and no CHECKPOINT")
	}
	if len(f.Records) == 0 || f.Records[0].Kind != segmentStart {
		f.guilty(States, f.Base+1, "is the first of its file, and no SEGMENT_START")
		return
	}
	first := &f.Records[0]
	var p struct{ Of string }
	if want := fmt.Sprintf("%d:%x", old.Head, old.Hash); json.Unmarshal([]byte(first.Payload), &p) != nil || p.Of != want {
		f.guilty(Chain, first.Seq, "says that it follows %q, which is %q", p.Of, want)
	}
	if first.Epoch < old.Epoch {
		f.guilty(Epochs, first.Seq, "has epoch %d after %d", first.Epoch, old.Epoch)
	}
	if f.began == nil || old.ended == nil {
		f.guilty(States, first.Seq, "begins a file, and what it carries, or what was open, is not known")
		return
	}
	f.carries(old.ended)
}

// carries compares what was carried with what stood at the end of the file before.
func (f *Finding) carries(was *standing) {
	for _, name := range slices.Sorted(maps.Keys(union(was.loans, f.began.loans))) {
		old, there := was.loans[name]
		now, here := f.began.loans[name]
		if there != here || !reflect.DeepEqual(old, now) {
			f.guilty(States, f.Base+1, "loan %q was %+v when the file before ended, and is carried as %+v", name, old, now)
		}
	}
	if !maps.Equal(was.reshapes, f.began.reshapes) {
		f.guilty(States, f.Base+1, "reshapes %v were open when the file before ended, and %v are carried", was.reshapes, f.began.reshapes)
	}
	if !maps.Equal(was.balances, f.began.balances) {
		f.guilty(Balances, f.Base+1, "the file before ended with %v, and %v are carried", was.balances, f.began.balances)
	}
}

func union[V any](a, b map[string]V) map[string]V {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// repeats looks for what may be done once and is done again in a later file.
func (f *Finding) repeats(operations map[operation]uint64, closed map[string]uint64) {
	for op, seq := range f.operations {
		if first, taken := operations[op]; taken {
			f.guilty(Operations, seq, "writes operation %q again, which is entry %d of a file before", op.id, first)
		}
	}
	for i := range f.Records {
		e := &f.Records[i]
		if head, ended := closed[e.Loan]; ended && (e.Kind == lendIntent || e.Kind == recovered) {
			f.guilty(States, e.Seq, "opens loan %q again, which ended in the file that ends with %d", e.Loan, head)
		}
	}
}
