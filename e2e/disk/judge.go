package disk

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ebbtide/ebbtide/e2e/disk/writer"
	"github.com/ebbtide/ebbtide/e2e/witness/books"
)

// ack is an entry that the ledger acknowledged.
type ack struct {
	seq  uint64
	hash string // hex; "-" if it was not told
}

// readAcks reads what a writer said. A last line that is torn says nothing.
func readAcks(said string) []ack {
	var out []ack
	for line := range strings.Lines(said) {
		var a ack
		if !strings.HasSuffix(line, "\n") {
			break
		}
		if _, err := fmt.Sscanf(line, "ACK %d %s", &a.seq, &a.hash); err == nil {
			out = append(out, a)
		}
	}
	return out
}

func last(acks []ack) uint64 {
	if len(acks) == 0 {
		return 0
	}
	return acks[len(acks)-1].seq
}

// judgement is what is wrong with one file.
type judgement struct {
	// lost acknowledged entries, entries too many, and work that was written twice.
	lost, extra, doubled int
	// chain is what the witness says of the file beside that; refused what the product does.
	chain   []books.Verdict
	refused string
	died    bool
	// differ: the product and the witness do not see the same head.
	differ string
	// inDoubt: the last entry was not acknowledged, and is there.
	inDoubt bool
	head    uint64
	hash    string
}

func (j judgement) guilty() bool {
	return j.lost+j.extra+j.doubled+len(j.chain) > 0 || j.refused != "" || j.died || j.differ != ""
}

func (j judgement) String() string {
	return fmt.Sprintf("head %d, lost %d, extra %d, doubled %d, verdicts %v, refused %q, died %v, %s",
		j.head, j.lost, j.extra, j.doubled, j.chain, j.refused, j.died, j.differ)
}

// testify is the witness's part: acknowledged entries are there, with at most more others.
func testify(file []byte, acks []ack, more uint64) judgement {
	f := books.Judge(file)
	j := judgement{head: f.Head, hash: hex.EncodeToString(f.Hash[:]), chain: f.Verdicts}
	hashes := map[uint64]string{}
	work := map[string]bool{}
	for _, r := range f.Records {
		hashes[r.Seq] = hex.EncodeToString(r.Hash[:])
		piece, _, _ := strings.Cut(r.Message, ":")
		if work[piece] {
			j.doubled++
		}
		work[piece] = true
	}
	for _, a := range acks {
		if have, ok := hashes[a.seq]; !ok || a.hash != "-" && a.hash != have {
			j.lost++
		}
	}
	known := last(acks)
	j.inDoubt = f.Head == known+1
	if f.Head > known+more {
		j.extra = int(f.Head - known - more)
	}
	return j
}

// examine judges a file by the witness and by the product, which gets it under a name of its
// own, and may go on writing it.
func (r *run) examine(file []byte, acks []ack, then writer.Request) (judgement, error) {
	if err := os.WriteFile(r.scratch, file, 0o600); err != nil {
		return judgement{}, err
	}
	j := testify(file, acks, 1)
	then.File = r.scratch
	return r.compare(j, then)
}

// compare has the product open a file that the witness judged.
func (r *run) compare(j judgement, then writer.Request) (judgement, error) {
	a, err := r.opener.ask(then)
	switch {
	case errors.Is(err, errDied):
		j.died, j.refused = true, err.Error()
		return j, nil
	case err != nil:
		return j, err
	case a.Refused != "":
		j.refused = a.Refused
	case a.Failed != "":
		j.refused = a.Failed
	case a.Seq != j.head || a.Hash != j.hash:
		j.differ = fmt.Sprintf("the product sees head %d %s, the witness %d %s", a.Seq, a.Hash, j.head, j.hash)
	}
	return j, nil
}

// repeated examines a file, writes the next work from what was acknowledged on, some of which
// may be there, and examines it again: it must then be there once.
func (r *run) repeated(file []byte, acks []ack, more uint64, forget bool) (before, after judgement, err error) {
	from := last(acks) + 1
	before, err = r.examine(file, acks, writer.Request{From: from, Until: from + more - 1, Forget: forget})
	if err != nil || before.guilty() {
		return before, judgement{}, err
	}
	written, err := os.ReadFile(r.scratch)
	if err != nil {
		return before, judgement{}, err
	}
	after = testify(written, acks, more)
	if after.head < last(acks)+more {
		after.lost++
	}
	return before, after, nil
}
