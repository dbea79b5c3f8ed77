package books

import (
	"encoding/binary"
	"fmt"
)

// kindNames are the kinds by their numbers.
var kindNames = map[uint8]string{
	1: "EPOCH_START", 2: "LEND_INTENT", 3: "LEND_GRANTED", 4: "LEND_ABORTED", 5: "RECLAIM_INTENT", 6: "RECLAIM_DONE",
	7: "RELEASED", 8: "PREEMPTED", 9: "LOST", 10: "RECOVERED", 11: "REFUSED", 12: "CORRECTION", 13: "SHED",
	14: "SHED_INTENT", 15: "STOPPED", 16: "KILLED", 17: "SHED_LOST", 18: "RESHAPE_INTENT", 19: "RESHAPE_DONE",
	20: "RESHAPE_UNDONE", 21: "RESHAPE_FAILED", 22: "GAP", 23: "CHECKPOINT", 24: "SEGMENT_START", 25: "CARRIED",
	26: "QUARANTINED", 27: "UNQUARANTINED", 28: "POLICY_MISSING", 29: "POLICY_BACK",
}

func name(kind uint8) string {
	if n, ok := kindNames[kind]; ok {
		return n
	}
	return fmt.Sprintf("kind %d", kind)
}

func number(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// index notes the rows that an entry adds to the indexes.
func (r *replay) index(e *Record) {
	seq := string(number(e.Seq))
	l := r.loans[e.Loan]
	if e.Loan != "" {
		var after State
		if l != nil {
			after = l.State
		}
		r.loanRows[e.Loan+"\x00"+seq] = byte(after)
	}
	if e.Borrower != "" {
		r.tenantRows[e.Borrower+"\x00"+seq] = 0
	}
	if r.f.Schema < 2 || l == nil || l.State == Closed && l.Last != e.Seq {
		return
	}
	for _, tenant := range l.tenants {
		if tenant != "" {
			r.tenantRows[tenant+"\x00"+seq] = 0
		}
	}
}

// derived compares the tables that follow from the log with what does.
func (r *replay) derived(tables map[string][]pair) {
	open := map[string][]byte{}
	for _, l := range r.f.Open {
		row := append([]byte{byte(l.State)}, number(l.First)...)
		row = append(append(row, number(l.Last)...), number(l.Start)...)
		open[l.JobUID] = append(row, l.Loan...)
	}
	r.compare("open", tables["open"], open)
	accounts := map[string][]byte{}
	for a, unitMS := range r.f.Balances {
		accounts[a.Side+"\x00"+a.Name+"\x00"+a.Flavor] = number(uint64(unitMS))
	}
	r.compare("acct", tables["acct"], accounts)
	r.total(tables["acct"])
	if r.f.Schema < 2 {
		r.derived1(tables)
	} else {
		r.derived2(tables)
	}
}

// derived1 compares the indexes of schema 1: a row for each entry.
func (r *replay) derived1(tables map[string][]pair) {
	operations := map[string][]byte{}
	for op, seq := range r.operations {
		operations[op.id+"\x00"+string([]byte{op.kind})] = number(seq)
	}
	for key := range r.tenantRows {
		r.tenantRows[key] = 1
	}
	r.compare("by_op", tables["by_op"], operations)
	r.compare("by_loan", tables["by_loan"], short(r.loanRows))
	r.compare("by_tenant", tables["by_tenant"], short(r.tenantRows))
}

func short(rows map[string]byte) map[string][]byte {
	out := make(map[string][]byte, len(rows))
	for key, b := range rows {
		out[key] = []byte{b}
	}
	return out
}

// compare says which rows are wrong, missing, or too many.
func (r *replay) compare(table string, have []pair, want map[string][]byte) {
	for _, row := range have {
		value, ok := want[string(row.key)]
		switch {
		case !ok:
			r.f.guilty(Derived, 0, "table %s has a row %q, which does not follow from the log", table, row.key)
		case string(value) != string(row.value):
			r.f.guilty(Derived, 0, "table %s has %x at %q, the log says %x", table, row.value, row.key, value)
		}
		delete(want, string(row.key))
	}
	for key := range want {
		r.f.guilty(Derived, 0, "table %s lacks the row %q", table, key)
	}
}

// total adds the stored balances up, whatever the log says of them.
func (r *replay) total(rows []pair) {
	sums := map[string]int64{}
	for _, row := range rows {
		for i := len(row.key) - 1; i >= 0; i-- {
			if row.key[i] == 0 {
				if len(row.value) == 8 {
					sums[string(row.key[i+1:])] += int64(binary.BigEndian.Uint64(row.value))
				}
				break
			}
		}
	}
	for flavor, sum := range sums {
		if sum != 0 {
			r.f.guilty(Balances, 0, "the stored balances of %s add up to %d", flavor, sum)
		}
	}
}
