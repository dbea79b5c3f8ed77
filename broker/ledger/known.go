package ledger

import (
	"fmt"
	"strconv"
	"strings"
)

// Known is an entry's number and hash, as somebody else than the ledger's volume knows them.
type Known struct {
	Seq  uint64
	Hash Hash
}

// ParseKnown reads SEQ:HASH.
func ParseKnown(text string) (Known, error) {
	seq, hash, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil || n == 0 {
		return Known{}, fmt.Errorf("%q is not SEQ:HASH, a number from 1 and 64 hex digits", text)
	}
	k := Known{Seq: n}
	if err := k.Hash.UnmarshalText([]byte(hash)); err != nil {
		return Known{}, fmt.Errorf("%q is not SEQ:HASH: %w", text, err)
	}
	return k, nil
}

// String is SEQ:HASH.
func (k Known) String() string { return fmt.Sprintf("%d:%s", k.Seq, k.Hash) }

// Against compares a sound ledger, of which read reads entries, with what is known of it. That
// the entry is missing or another is a fault: the ledger is an old copy, or its history was
// written anew. The error says only that nothing could be compared, because the entry's file
// was pruned.
func (r *Report) Against(k Known, read func(from uint64, limit int) ([]Entry, error)) error {
	where := fmt.Sprintf("entry %d", k.Seq)
	if k.Seq > r.HeadSeq {
		r.add(Fault{Seq: k.Seq, Where: where, Text: fmt.Sprintf(
			"is known with hash %s, and the ledger ends with entry %d: it is an old copy, or has lost entries", k.Hash, r.HeadSeq), sentinel: ErrCorrupt})
		return nil
	}
	entries, err := read(k.Seq, 1)
	if err != nil {
		return fmt.Errorf("compare with %s: %w", k, err)
	}
	if len(entries) == 0 || entries[0].Seq != k.Seq {
		return fmt.Errorf("compare with %s: the entry is in no file any more", k)
	}
	if got := entries[0].Hash; got != k.Hash {
		r.add(Fault{Seq: k.Seq, Where: where, Text: fmt.Sprintf(
			"has hash %s and is known with %s: this is another history", got, k.Hash), sentinel: ErrCorrupt})
	}
	return nil
}
