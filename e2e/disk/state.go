package disk

import (
	"math/rand/v2"
	"slices"

	"github.com/ebbtide/ebbtide/e2e/disk/trace"
)

// sector is what a disk writes whole or not at all.
const sector = 512

// recording is a file before a run and what was done to it.
type recording struct {
	base []byte
	ops  []trace.Op

	// done is the file after so many ops, so that cuts in their order are cheap.
	done  []byte
	after int
}

// cuts are the places in ops before which the power may go: each sync, just before it is
// over, and the end. Between two of them there is nothing that these do not have.
func (r *recording) cuts() []int {
	var out []int
	for i, op := range r.ops {
		if op.Call == trace.Sync {
			out = append(out, i)
		}
	}
	return append(out, len(r.ops))
}

// acks are what the writer acknowledged before a cut.
func (r *recording) acks(cut int) []ack {
	var said []byte
	for _, op := range r.ops[:cut] {
		if op.Call == trace.Said {
			said = append(said, op.Data...)
		}
	}
	return readAcks(string(said))
}

// state is the file as a power cut at a place might leave it. without is a sync that had no
// effect, or -1; a sync that failed never has one.
func (r *recording) state(cut, without int, rng *rand.Rand) []byte {
	durable := 0
	for i := cut - 1; i >= 0; i-- {
		if r.ops[i].Call == trace.Sync && r.ops[i].Err == 0 && i != without {
			durable = i
			break
		}
	}
	return applySome(slices.Clone(r.whole(durable)), r.ops[durable:cut], rng)
}

// whole is the file with all of the first n ops.
func (r *recording) whole(n int) []byte {
	if r.done == nil || n < r.after {
		r.done, r.after = slices.Clone(r.base), 0
	}
	for ; r.after < n; r.after++ {
		r.done = apply(r.done, r.ops[r.after])
	}
	return r.done
}

// apply does all of a call.
func apply(file []byte, op trace.Op) []byte {
	if op.Err != 0 {
		return file
	}
	switch op.Call {
	case trace.Truncate:
		return resize(file, op.Off)
	case trace.Write:
		return put(file, op.Off, op.Data)
	}
	return file
}

// put writes data, which may make the file longer.
func put(file []byte, at int64, data []byte) []byte {
	if end := at + int64(len(data)); end > int64(len(file)) {
		file = resize(file, end)
	}
	copy(file[at:], data)
	return file
}

func resize(file []byte, size int64) []byte {
	if size <= int64(len(file)) {
		return file[:size]
	}
	return append(file, make([]byte, size-int64(len(file)))...)
}

// piece is the part of one write that lies in one sector.
type piece struct {
	at   int64
	data []byte
}

// pieces are the calls' writes by sector, each sector's in their order.
func pieces(ops []trace.Op) (sectors [][]piece, sizes []int64) {
	index := map[int64]int{}
	for _, op := range ops {
		if op.Err != 0 {
			continue
		}
		if op.Call == trace.Truncate {
			sizes = append(sizes, op.Off)
		}
		if op.Call != trace.Write {
			continue
		}
		for at, data := op.Off, op.Data; len(data) > 0; {
			n := min(int64(len(data)), sector-at%sector)
			i, ok := index[at/sector]
			if !ok {
				i = len(sectors)
				index[at/sector] = i
				sectors = append(sectors, nil)
			}
			sectors[i] = append(sectors[i], piece{at, data[:n]})
			at, data = at+n, data[n:]
		}
	}
	return sectors, sizes
}

// applySome does what of some calls may have reached the disk: of every sector none of its
// versions, or those up to one of them; sizes likewise.
func applySome(file []byte, ops []trace.Op, rng *rand.Rand) []byte {
	sectors, sizes := pieces(ops)
	reached := lot(len(sectors), rng)
	if n := rng.IntN(len(sizes) + 1); n > 0 {
		file = resize(file, sizes[n-1])
	}
	for i, versions := range sectors {
		if !reached(i) {
			continue
		}
		for _, p := range versions[:1+rng.IntN(len(versions))] {
			file = put(file, p.at, p.data)
		}
	}
	return file
}

// lot draws which of n sectors reached the disk: any share of them, and as often as not the
// corner cases none, all, all but one, and one.
func lot(n int, rng *rand.Rand) func(i int) bool {
	if n == 0 {
		return func(int) bool { return false }
	}
	one, share := rng.IntN(n), rng.Float64()
	switch rng.IntN(8) {
	case 0:
		return func(int) bool { return false }
	case 1:
		return func(int) bool { return true }
	case 2:
		return func(i int) bool { return i != one }
	case 3:
		return func(i int) bool { return i == one }
	}
	return func(int) bool { return rng.Float64() < share }
}
