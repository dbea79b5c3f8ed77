package books

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
)

// derived2 compares the indexes of schema 2, and the rows of the months.
func (r *replay) derived2(tables map[string][]pair) {
	numbers := map[string][]uint64{}
	for op, seq := range r.operations {
		sum := sha256.Sum256([]byte(op.id + "\x00" + string([]byte{op.kind})))
		numbers[string(sum[:8])] = append(numbers[string(sum[:8])], seq)
	}
	operations := make(map[string][]byte, len(numbers))
	for hash, all := range numbers {
		slices.Sort(all)
		for _, seq := range all {
			operations[hash] = append(operations[hash], number(seq)...)
		}
	}
	r.compare("by_op", tables["by_op"], operations)
	r.compare("by_loan", r.unpack("by_loan", tables["by_loan"]), short(r.loanRows))
	r.compare("by_tenant", r.unpack("by_tenant", tables["by_tenant"]), short(r.tenantRows))
	months := map[string][]byte{}
	for key, amounts := range r.months {
		months[key.row()] = amounts.bytes()
	}
	r.compare("month", tables["month"], months)
}

var errChunk = errors.New("a chunk of numbers cannot be read")

// unpack makes one row of each number in an index, whose rows have many: under a name, 00 and
// the first number are varints, each the distance from the number before in all but the
// lowest three bits, which are the loan's state.
func (r *replay) unpack(table string, rows []pair) []pair {
	var out []pair
	for _, row := range rows {
		if err := chunk(row, &out); err != nil {
			r.f.guilty(Derived, 0, "table %s: %q: %v", table, row.key, err)
		}
	}
	return out
}

func chunk(row pair, out *[]pair) error {
	at := len(row.key) - 8
	if at < 1 || len(row.value) == 0 {
		return errChunk
	}
	seq := binary.BigEndian.Uint64(row.key[at:])
	for i, rest := 0, row.value; len(rest) > 0; i++ {
		v, n := binary.Uvarint(rest)
		if n <= 0 || (v>>3 == 0) != (i == 0) {
			return errChunk
		}
		seq += v >> 3
		key := append(slices.Clone(row.key[:at]), number(seq)...)
		*out, rest = append(*out, pair{key: key, value: []byte{byte(v & 7)}}), rest[n:]
	}
	return nil
}
