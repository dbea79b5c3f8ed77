package books

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// newestSchema is the highest schema of the tables that this package knows.
const newestSchema = 2

// Account is one side of a booking.
type Account struct {
	Side, Name, Flavor string
}

// OpenLoan is a loan that holds units.
type OpenLoan struct {
	Loan, JobUID       string
	State              State
	First, Last, Start uint64
	Grants             []Grant
}

// Finding is what a file says, and what is wrong with it.
type Finding struct {
	// ID and ClusterUID are those the file was made with.
	ID         [16]byte
	ClusterUID string
	Schema     uint32
	// Base is the number before the first entry's.
	Base uint64
	// Records in order, as far as they could be read.
	Records []Record
	// Head, Hash and Epoch are of the last record; of an empty ledger those that its first
	// follows.
	Head  uint64
	Hash  [32]byte
	Epoch int64
	// Open loans by name, and Balances in unit-milliseconds, as they follow from the log.
	Open     map[string]OpenLoan
	Balances map[Account]int64
	Verdicts []Verdict

	// before is the hash that Base has in the file before.
	before [32]byte
	// began is what stood when all that was open before had been carried, and ended what
	// stands at the end; both nil where it is not known.
	began, ended *standing
	operations   map[operation]uint64
}

// Sound tells whether no law is broken.
func (f *Finding) Sound() bool { return len(f.Verdicts) == 0 }

// Err is nil for a sound ledger, and otherwise tells the first verdict and how many there
// are.
func (f *Finding) Err() error {
	if f.Sound() {
		return nil
	}
	return fmt.Errorf("%d verdicts, the first: %s", len(f.Verdicts), f.Verdicts[0])
}

func (f *Finding) guilty(law Law, seq uint64, text string, args ...any) {
	f.Verdicts = append(f.Verdicts, Verdict{law, seq, fmt.Sprintf(text, args...)})
}

// Holds adds a verdict unless the ledger has the entry of that number with that hash. It is
// how a head that somebody else kept is compared.
func (f *Finding) Holds(seq uint64, hash [32]byte) bool {
	if seq == f.Base || seq > f.Head || seq < f.Base {
		if seq == f.Head && hash == f.Hash {
			return true
		}
		f.guilty(Head, seq, "is known elsewhere, and the ledger ends with %d", f.Head)
		return false
	}
	i := seq - f.Base - 1
	if i >= uint64(len(f.Records)) || f.Records[i].Hash != hash {
		f.guilty(Chain, seq, "is known elsewhere with another hash")
		return false
	}
	return true
}

// Judge reads the bytes of a ledger file and says everything that is wrong with it.
func Judge(file []byte) *Finding {
	f := &Finding{Open: map[string]OpenLoan{}, Balances: map[Account]int64{}}
	tables, err := buckets(file)
	if err != nil {
		f.guilty(Structure, 0, "%v", err)
		return f
	}
	if !f.has(tables, "meta", "log", "by_op", "by_loan", "by_tenant", "open", "acct") {
		return f
	}
	base, ok := f.identity(tables["meta"])
	if !ok {
		return f
	}
	if f.Schema >= 2 && !f.has(tables, "month") {
		return f
	}
	f.Head, f.Hash = f.Base, base
	r := newReplay(f)
	for _, row := range tables["log"] {
		r.row(row)
	}
	r.finish()
	f.head(value(tables["meta"], "head"))
	if r.whole {
		r.derived(tables)
	}
	return f
}

func (f *Finding) has(tables map[string][]pair, names ...string) bool {
	for _, name := range names {
		if _, ok := tables[name]; !ok {
			f.guilty(Structure, 0, "the table %q is missing", name)
		}
	}
	return f.Sound()
}

func value(rows []pair, key string) []byte {
	for _, row := range rows {
		if string(row.key) == key {
			return row.value
		}
	}
	return nil
}

// identity reads what the file was made with; the hash of it is what the first entry
// follows.
func (f *Finding) identity(meta []pair) (base [32]byte, ok bool) {
	b, err := body(value(meta, "identity"))
	if err != nil {
		f.guilty(Checksum, 0, "identity: %v", err)
		return base, false
	}
	r := fields{rest: b}
	f.Schema = uint32(r.number(4))
	copy(f.ID[:], r.bytes(16))
	f.ClusterUID = r.text()
	r.number(8)
	f.Base = r.number(8)
	f.before = r.hash()
	if err := r.done(); err != nil {
		f.guilty(Form, 0, "identity: %v", err)
		return base, false
	}
	if f.Schema < 1 || f.Schema > newestSchema {
		f.guilty(Form, 0, "schema %d is not known", f.Schema)
		return base, false
	}
	born, ok := f.born(value(meta, "born"))
	return sha256.Sum256(append(born, b[4:]...)), ok
}

// born is the schema that a file was made with, which stands in its hash; it is told where it
// is another than now.
func (f *Finding) born(raw []byte) ([]byte, bool) {
	if raw == nil {
		return binary.BigEndian.AppendUint32(nil, f.Schema), true
	}
	b, err := body(raw)
	if err == nil && len(b) != 4 {
		err = errLong
	}
	if err != nil {
		f.guilty(Checksum, 0, "born: %v", err)
		return nil, false
	}
	return slices.Clone(b), true
}

// head compares the stored head with the end of the log.
func (f *Finding) head(raw []byte) {
	b, err := body(raw)
	if err != nil {
		f.guilty(Checksum, 0, "head: %v", err)
		return
	}
	r := fields{rest: b}
	seq, hash, epoch := r.number(8), r.hash(), int64(r.number(8))
	if err := r.done(); err != nil {
		f.guilty(Form, 0, "head: %v", err)
		return
	}
	if seq != f.Head || hash != f.Hash || epoch != f.Epoch {
		f.guilty(Head, seq, "is the head with epoch %d and hash %x, the log ends with %d, epoch %d, hash %x",
			epoch, hash[:8], f.Head, f.Epoch, f.Hash[:8])
	}
}

// row judges one row of the log.
func (r *replay) row(row pair) {
	f := r.f
	if len(row.key) != 8 {
		r.broken(Numbers, 0, "a key of the log has %d bytes", len(row.key))
		return
	}
	seq := binary.BigEndian.Uint64(row.key)
	if seq != f.Head+1 {
		r.broken(Numbers, seq, "follows %d: %d are missing", f.Head, seq-f.Head-1)
	}
	rec, err := decode(row.value)
	if err != nil {
		law := Form
		if errors.Is(err, errCRC) {
			law = Checksum
		}
		r.broken(law, seq, "%v", err)
		// What follows is compared with nothing: its neighbour is unknown.
		f.Head, r.gap = seq, true
		return
	}
	if rec.Seq != seq {
		r.broken(Numbers, seq, "calls itself %d", rec.Seq)
	}
	if rec.PrevHash != f.Hash && !r.gap {
		r.broken(Chain, seq, "does not have the hash of the one before")
	}
	if rec.Epoch < f.Epoch {
		r.broken(Epochs, seq, "has epoch %d after %d", rec.Epoch, f.Epoch)
	}
	r.gap = false
	f.Head, f.Hash, f.Epoch = seq, rec.Hash, max(f.Epoch, rec.Epoch)
	f.Records = append(f.Records, rec)
	if r.whole {
		r.entry(&rec)
	}
}
