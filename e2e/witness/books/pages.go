package books

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
)

// A bbolt file is pages of one size, of which a structure may take several in a row. All
// numbers are little-endian. Pages 0 and 1 are headers; the one with the higher transaction
// that has a right checksum counts.
const (
	pageHeader   = 16
	metaBytes    = 64
	bucketBytes  = 16 // root page and sequence
	elementBytes = 16
	metaMagic    = 0xED0CDAED
	metaVersion  = 2

	flagBranch = 0x01
	flagLeaf   = 0x02
	flagMeta   = 0x04

	bucketElement = 0x01
	deepest       = 64
)

var le = binary.LittleEndian

// pair is a key and its value, which share memory with the file.
type pair struct {
	key, value []byte
	bucket     bool
}

// tree reads one file's pages.
type tree struct {
	data     []byte
	pageSize uint64
	pages    uint64 // in use; all numbers are below
	seen     map[uint64]bool
}

type meta struct {
	root, pages, txid uint64
	pageSize          uint64
}

// readMeta reads the header at an offset.
func readMeta(data []byte, at uint64) (meta, error) {
	if at+pageHeader+metaBytes > uint64(len(data)) {
		return meta{}, fmt.Errorf("the file ends within the header at byte %d", at)
	}
	page, b := data[at:], data[at+pageHeader:]
	switch {
	case le.Uint16(page[8:]) != flagMeta:
		return meta{}, fmt.Errorf("the page at byte %d is no header", at)
	case le.Uint32(b) != metaMagic || le.Uint32(b[4:]) != metaVersion:
		return meta{}, fmt.Errorf("the header at byte %d is not one of bbolt, version %d", at, metaVersion)
	}
	sum := fnv.New64a()
	sum.Write(b[:56])
	if sum.Sum64() != le.Uint64(b[56:]) {
		return meta{}, fmt.Errorf("the header at byte %d has a wrong checksum", at)
	}
	m := meta{root: le.Uint64(b[16:]), pages: le.Uint64(b[40:]), txid: le.Uint64(b[48:]), pageSize: uint64(le.Uint32(b[8:]))}
	if m.pageSize < 512 || m.pageSize > 1<<16 || m.pageSize&(m.pageSize-1) != 0 {
		return meta{}, fmt.Errorf("the header at byte %d has pages of %d bytes", at, m.pageSize)
	}
	return m, nil
}

// openTree finds the header that counts. Both must be sound, of consecutive transactions.
func openTree(data []byte) (*tree, []pair, error) {
	first, err := readMeta(data, 0)
	if err != nil {
		return nil, nil, err
	}
	second, err := readMeta(data, first.pageSize)
	if err != nil {
		return nil, nil, err
	}
	m := first
	if second.txid > first.txid {
		m = second
	}
	if first.txid+1 != second.txid && second.txid+1 != first.txid {
		return nil, nil, fmt.Errorf("the headers are of transactions %d and %d, which do not follow each other", first.txid, second.txid)
	}
	if m.pages > uint64(len(data))/m.pageSize {
		return nil, nil, fmt.Errorf("the file has %d bytes, and %d pages of %d bytes are in use", len(data), m.pages, m.pageSize)
	}
	t := &tree{data: data, pageSize: m.pageSize, pages: m.pages, seen: map[uint64]bool{0: true, 1: true}}
	root, err := t.walk(m.root, nil, 0)
	return t, root, err
}

// page is the memory of a page and those that it spills into.
func (t *tree) page(id uint64) ([]byte, error) {
	if id >= t.pages || t.seen[id] {
		return nil, fmt.Errorf("page %d is out of bounds or used twice", id)
	}
	t.seen[id] = true
	at := id * t.pageSize
	if number := le.Uint64(t.data[at:]); number != id {
		return nil, fmt.Errorf("page %d calls itself %d", id, number)
	}
	more := uint64(le.Uint32(t.data[at+12:]))
	if more >= t.pages-id {
		return nil, fmt.Errorf("page %d takes %d more, and %d are in use", id, more, t.pages)
	}
	for i := id + 1; i <= id+more; i++ {
		if t.seen[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		t.seen[i] = true
	}
	return t.data[at : at+(more+1)*t.pageSize], nil
}

// walk returns the pairs at and below a page, in order, after those already found.
func (t *tree) walk(id uint64, found []pair, depth int) ([]pair, error) {
	if depth > deepest {
		return found, fmt.Errorf("page %d is more than %d levels deep", id, deepest)
	}
	b, err := t.page(id)
	if err != nil {
		return found, err
	}
	switch le.Uint16(b[8:]) {
	case flagLeaf:
		return leaf(b, found)
	case flagBranch:
	default:
		return found, fmt.Errorf("page %d is neither branch nor leaf", id)
	}
	n := int(le.Uint16(b[10:]))
	if pageHeader+n*elementBytes > len(b) {
		return found, fmt.Errorf("page %d has %d elements, for which there is no room", id, n)
	}
	for i := range n {
		at := pageHeader + i*elementBytes
		key, ok := cut(b, at, le.Uint32(b[at:]), le.Uint32(b[at+4:]))
		if !ok {
			return found, fmt.Errorf("page %d: element %d lies outside of it", id, i)
		}
		from := len(found)
		if found, err = t.walk(le.Uint64(b[at+8:]), found, depth+1); err != nil {
			return found, err
		}
		if len(found) == from || bytes.Compare(key, found[from].key) > 0 {
			return found, fmt.Errorf("page %d: element %d does not lead where it says", id, i)
		}
	}
	return found, nil
}

// leaf adds the pairs of a leaf page, or of a bucket that is kept in its parent.
func leaf(b []byte, found []pair) ([]pair, error) {
	if len(b) < pageHeader || le.Uint16(b[8:]) != flagLeaf {
		return found, fmt.Errorf("what should be a leaf is none")
	}
	n := int(le.Uint16(b[10:]))
	if pageHeader+n*elementBytes > len(b) {
		return found, fmt.Errorf("a leaf has %d elements, for which there is no room", n)
	}
	for i := range n {
		at := pageHeader + i*elementBytes
		pos, ksize := le.Uint32(b[at+4:]), le.Uint32(b[at+8:])
		key, ok := cut(b, at, pos, ksize)
		value, fits := cut(b, at, pos+ksize, le.Uint32(b[at+12:]))
		if !ok || !fits || pos+ksize < pos {
			return found, fmt.Errorf("element %d of a leaf lies outside of it", i)
		}
		if len(found) > 0 && bytes.Compare(found[len(found)-1].key, key) >= 0 {
			return found, fmt.Errorf("key %x does not follow %x", key, found[len(found)-1].key)
		}
		found = append(found, pair{key, value, le.Uint32(b[at:])&bucketElement != 0})
	}
	return found, nil
}

// cut takes size bytes that begin pos after an element.
func cut(b []byte, element int, pos, size uint32) ([]byte, bool) {
	from := uint64(element) + uint64(pos)
	to := from + uint64(size)
	if to > uint64(len(b)) {
		return nil, false
	}
	return b[from:to], true
}

// buckets are the tables of a file by name.
func buckets(data []byte) (map[string][]pair, error) {
	t, root, err := openTree(data)
	if err != nil {
		return nil, err
	}
	out := map[string][]pair{}
	for _, p := range root {
		if !p.bucket || len(p.value) < bucketBytes {
			return nil, fmt.Errorf("%q beside the tables is none", p.key)
		}
		var rows []pair
		if id := le.Uint64(p.value); id == 0 {
			rows, err = leaf(p.value[bucketBytes:], nil)
		} else {
			rows, err = t.walk(id, nil, 0)
		}
		if err != nil {
			return nil, fmt.Errorf("table %q: %w", p.key, err)
		}
		out[string(p.key)] = rows
	}
	return out, nil
}

// Live are the places in a file of the keys and values of all tables: bytes that mean
// something, as [from, to) offsets. Of a file whose structure is damaged there are none.
func Live(data []byte) [][2]int {
	tables, err := buckets(data)
	if err != nil {
		return nil
	}
	var out [][2]int
	for _, rows := range tables {
		for _, p := range rows {
			for _, b := range [][]byte{p.key, p.value} {
				// Slices of the file end where its memory ends.
				from := cap(data) - cap(b)
				out = append(out, [2]int{from, from + len(b)})
			}
		}
	}
	return out
}
