package ledger

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// bbolt maps its file into memory and trusts what it finds there: a file that is
// too short, or a page number or length with a flipped bit, ends the process
// with SIGBUS, SIGSEGV or a panic on a goroutine that nobody can recover. So
// every page is first read here with plain reads and checked for whatever bbolt
// takes on trust. After that bbolt may open the file.
//
// The format is bbolt's version 2: pages of a fixed size, of which 0 and 1 are
// headers written in turn, the newer one pointing at the root of a B+ tree of
// buckets and at the list of free pages. Numbers are in native byte order.
const (
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	noFreelist   = ^uint64(0)
	pageHeadLen  = 16 // id u64, flags u16, count u16, overflow u32
	metaLen      = 64
	elemLen      = 16 // of both kinds of page
	bucketHead   = 16 // root u64, sequence u64
	minPageSize  = 1 << 10
	maxPageSize  = 1 << 24
	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freelistPage = 0x10
	bucketElem   = 0x01
)

var native = binary.NativeEndian

// fileHeader is one of the two header pages.
type fileHeader struct {
	pageSize                  int64
	root, freelist, hwm, txid uint64
}

// parseHeader reads the header page in b; ok is false if anything about it is
// wrong.
func parseHeader(b []byte, page uint64) (fileHeader, bool) {
	if len(b) < pageHeadLen+metaLen {
		return fileHeader{}, false
	}
	m := b[pageHeadLen:]
	sum := fnv.New64a()
	sum.Write(m[:metaLen-8])
	h := fileHeader{
		pageSize: int64(native.Uint32(m[8:])),
		root:     native.Uint64(m[16:]),
		freelist: native.Uint64(m[32:]),
		hwm:      native.Uint64(m[40:]),
		txid:     native.Uint64(m[48:]),
	}
	ok := native.Uint64(b) == page && native.Uint16(b[8:]) == metaPage &&
		native.Uint32(m) == boltMagic && native.Uint32(m[4:]) == boltVersion &&
		native.Uint64(m[56:]) == sum.Sum64() &&
		h.pageSize >= minPageSize && h.pageSize <= maxPageSize && h.pageSize&(h.pageSize-1) == 0
	return h, ok
}

func readHeader(f io.ReaderAt, off int64, page uint64) (fileHeader, bool) {
	b := make([]byte, pageHeadLen+metaLen)
	if n, _ := f.ReadAt(b, off); n < len(b) {
		return fileHeader{}, false
	}
	return parseHeader(b, page)
}

// checkPages reads the whole file and returns what is wrong with its structure.
// Only if it returns nothing is it safe to let bbolt open the file. With
// acceptLostHeader one damaged header of the two is let pass.
func checkPages(f io.ReaderAt, size int64, acceptLostHeader bool) []Fault {
	w := &pageWalk{f: f}
	h, ok := w.header(size, acceptLostHeader)
	if !ok {
		return w.faults
	}
	w.pageSize, w.hwm, w.seen = h.pageSize, h.hwm, make([]atomic.Bool, h.hwm)
	w.seen[0].Store(true)
	w.seen[1].Store(true)
	w.trees([]subtree{{id: h.root}}, true)
	w.trees(w.roots, false)
	w.freelist(h.freelist)
	return w.faults
}

// pageWalk walks trees of pages.
type pageWalk struct {
	f        io.ReaderAt
	pageSize int64
	hwm      uint64        // first page that is not in use
	seen     []atomic.Bool // shared by all walks over a file
	faults   []Fault
	roots    []subtree // of the buckets
	next     []subtree // on the level below

	// Pages that were read ahead, and a buffer for what was not.
	ahead  []byte
	first  uint64
	single []byte
}

// subtree is a page of a tree, and the bounds of its keys: [low, high), where nil is no bound.
type subtree struct {
	id        uint64
	low, high []byte
}

// partLen pages of a level go to one processor at once. Of those, which lie near each other
// in the file are read together: up to aheadBytes, with less than maxGap pages between two of
// them that nobody asked for.
const (
	partLen    = 1 << 14
	aheadBytes = 1 << 18
	maxGap     = 4
)

// trees walks trees level by level, on all processors: one bucket, the log, is larger than
// all others together. It holds a level at a time, some 5 % of the file.
func (w *pageWalk) trees(level []subtree, buckets bool) {
	for len(level) > 0 {
		parts := slices.Collect(slices.Chunk(level, partLen))
		walks := make([]pageWalk, len(parts))
		var taken atomic.Int64
		var all sync.WaitGroup
		for range min(runtime.GOMAXPROCS(0), len(parts)) {
			all.Go(func() {
				for i := taken.Add(1) - 1; i < int64(len(parts)); i = taken.Add(1) - 1 {
					walks[i] = pageWalk{f: w.f, pageSize: w.pageSize, hwm: w.hwm, seen: w.seen}
					walks[i].pages(parts[i], buckets)
					walks[i].ahead, walks[i].single = nil, nil
				}
			})
		}
		all.Wait()
		level = nil
		for i := range walks {
			w.faults = append(w.faults, walks[i].faults...)
			w.roots, level = append(w.roots, walks[i].roots...), append(level, walks[i].next...)
		}
	}
}

// pages checks pages of one level, in the order in which they lie in the file.
func (w *pageWalk) pages(level []subtree, buckets bool) {
	slices.SortFunc(level, func(a, b subtree) int { return cmp.Compare(a.id, b.id) })
	most := uint64(aheadBytes / w.pageSize)
	for len(level) > 0 {
		n := 1
		for n < len(level) && level[n].id-level[n-1].id <= maxGap && level[n].id-level[0].id < most {
			n++
		}
		w.readAhead(level[0].id, level[n-1].id)
		for _, t := range level[:n] {
			w.page(t, buckets)
		}
		level = level[n:]
	}
}

func (w *pageWalk) fault(sentinel error, where, text string, args ...any) {
	w.faults = append(w.faults, Fault{Where: where, Text: fmt.Sprintf(text, args...), sentinel: sentinel})
}

func (w *pageWalk) badPage(id uint64, text string, args ...any) {
	w.fault(ErrCorrupt, fmt.Sprintf("page %d", id), text, args...)
}

// bothHeaders reads the header pages. The second lies at the page size, which
// only the first tells; without it every size is tried.
func (w *pageWalk) bothHeaders() (h0, h1 fileHeader, ok0, ok1 bool) {
	if h0, ok0 = readHeader(w.f, 0, 0); ok0 {
		h1, ok1 = readHeader(w.f, h0.pageSize, 1)
		return h0, h1, ok0, ok1
	}
	for at := int64(minPageSize); at <= maxPageSize && !ok1; at *= 2 {
		h1, ok1 = readHeader(w.f, at, 1)
		ok1 = ok1 && h1.pageSize == at
	}
	return h0, h1, ok0, ok1
}

// header picks the header that bbolt would pick, and checks the file's size
// against it.
func (w *pageWalk) header(size int64, acceptLost bool) (fileHeader, bool) {
	h0, h1, ok0, ok1 := w.bothHeaders()
	if !ok0 && !ok1 {
		if size < 2*minPageSize {
			w.fault(ErrTruncated, "header", "the file has %d bytes, fewer than its two header pages", size)
		} else {
			w.fault(ErrCorrupt, "header", "both header pages are damaged, or this is not a ledger")
		}
		return fileHeader{}, false
	}
	h, both := h0, ok0 && ok1
	if !ok0 || (both && h1.txid > h0.txid) {
		h = h1
	}
	switch {
	case h.hwm < 4 || h.hwm > uint64(1<<62)/uint64(h.pageSize):
		w.fault(ErrCorrupt, "header", "%d pages cannot be", h.hwm)
	case size < int64(h.hwm)*h.pageSize:
		w.fault(ErrTruncated, "header", "the file has %d bytes, its header says %d are in use", size, int64(h.hwm)*h.pageSize)
	case both && !consecutive(h0.txid, h1.txid):
		w.fault(ErrCorrupt, "header", "header pages are of transactions %d and %d, which do not follow each other", h0.txid, h1.txid)
	case !both && !acceptLost:
		w.fault(errLostHeader, "header", "one of two header pages is damaged, so the last entry may be lost")
	default:
		return h, true
	}
	return h, false
}

func consecutive(a, b uint64) bool { return a+1 == b || b+1 == a }

// readAhead reads the pages from first to last. Where that fails each is read by itself, which
// tells which of them it is.
func (w *pageWalk) readAhead(first, last uint64) {
	w.ahead, w.first = w.ahead[:0], first
	if first < 2 || last >= w.hwm {
		return
	}
	size := int64(last-first+1) * w.pageSize
	w.ahead = slices.Grow(w.ahead, int(size))[:size]
	if _, err := w.f.ReadAt(w.ahead, int64(first)*w.pageSize); err != nil {
		w.ahead = w.ahead[:0]
	}
}

// read returns n pages, valid until the next read.
func (w *pageWalk) read(id, n uint64) ([]byte, error) {
	size := int64(n) * w.pageSize
	if at := int64(id-w.first) * w.pageSize; id >= w.first && at+size <= int64(len(w.ahead)) {
		return w.ahead[at : at+size : at+size], nil
	}
	w.single = slices.Grow(w.single[:0], int(size))[:size]
	_, err := w.f.ReadAt(w.single, int64(id)*w.pageSize)
	return w.single, err
}

// load reads a page with its overflow pages, checks its own header and marks it
// as used.
func (w *pageWalk) load(id uint64, what string) ([]byte, bool) {
	if id < 2 || id >= w.hwm {
		w.badPage(id, "%s points here, outside pages 2 to %d", what, w.hwm-1)
		return nil, false
	}
	b, err := w.read(id, 1)
	if err != nil {
		w.badPage(id, "cannot be read: %v", err)
		return nil, false
	}
	overflow := uint64(native.Uint32(b[12:]))
	if native.Uint64(b) != id || overflow >= w.hwm-id {
		w.badPage(id, "its header is damaged (calls itself %d, with %d pages after it)", native.Uint64(b), overflow)
		return nil, false
	}
	for p := id; p <= id+overflow; p++ {
		if w.seen[p].Swap(true) {
			w.badPage(p, "is used twice, the second time by %s", what)
			return nil, false
		}
	}
	if overflow == 0 {
		return b, true
	}
	if b, err = w.read(id, overflow+1); err != nil {
		w.badPage(id, "cannot be read: %v", err)
		return nil, false
	}
	return b, true
}

// page checks a page, and notes what is below it.
func (w *pageWalk) page(t subtree, buckets bool) {
	b, ok := w.load(t.id, "a tree")
	if !ok {
		return
	}
	switch flags := native.Uint16(b[8:]); flags {
	case leafPage:
		w.leaf(t.id, b, t.low, t.high, buckets)
	case branchPage:
		w.below(t.id, bytes.Clone(b), t.low, t.high) // the bounds of what is below lie in it
	default:
		w.badPage(t.id, "has type %#x, want a tree page", flags)
	}
}

// element returns the key and (for leaves) the value of an element. Branch elements are
// pos u32, ksize u32, page u64; leaf elements flags u32, pos u32, ksize u32, vsize u32. The
// page must have been found sound by elements.
func element(b []byte, i int, leaf bool) (key, value []byte) {
	el := b[pageHeadLen+i*elemLen:]
	if !leaf {
		pos, klen := native.Uint32(el), native.Uint32(el[4:])
		return el[pos : pos+klen], nil
	}
	pos, klen, vlen := native.Uint32(el[4:]), native.Uint32(el[8:]), native.Uint32(el[12:])
	return el[pos : pos+klen], el[pos+klen : pos+klen+vlen]
}

// elements returns how many a page has, or false if one lies outside the page or out of
// order.
func (w *pageWalk) elements(id uint64, b, low, high []byte, leaf bool) (count int, ok bool) {
	count = int(native.Uint16(b[10:]))
	if pageHeadLen+count*elemLen > len(b) {
		w.badPage(id, "%d elements do not fit", count)
		return 0, false
	}
	prev := low
	for i := range count {
		at := pageHeadLen + i*elemLen
		el := b[at:]
		pos, klen, vlen := uint64(native.Uint32(el)), uint64(native.Uint32(el[4:])), uint64(0)
		if leaf {
			pos, klen, vlen = uint64(native.Uint32(el[4:])), uint64(native.Uint32(el[8:])), uint64(native.Uint32(el[12:]))
		}
		start := uint64(at) + pos
		if pos < elemLen*uint64(count-i) || start+klen+vlen > uint64(len(b)) || klen == 0 {
			w.badPage(id, "element %d lies outside the page", i)
			return 0, false
		}
		key := b[start : start+klen]
		order := bytes.Compare(prev, key)
		if order > 0 || (i > 0 && order == 0) {
			w.badPage(id, "element %d is out of order", i)
			return 0, false
		}
		prev = key
	}
	// Keys ascend, so the last one is the highest.
	if count > 0 && high != nil && bytes.Compare(prev, high) >= 0 {
		w.badPage(id, "element %d is out of order", count-1)
		return 0, false
	}
	return count, true
}

// below checks a branch page and notes the pages below it, with the bounds of their keys.
func (w *pageWalk) below(id uint64, b, low, high []byte) {
	count, ok := w.elements(id, b, low, high, false)
	if !ok {
		return
	}
	if count == 0 {
		w.badPage(id, "is a branch without elements")
	}
	for i := range count {
		key, _ := element(b, i, false)
		next := high
		if i+1 < count {
			next, _ = element(b, i+1, false)
		}
		w.next = append(w.next, subtree{native.Uint64(b[pageHeadLen+i*elemLen+8:]), key, next})
	}
}

// leaf checks a leaf page: of the root, whose values are all buckets, or of a
// bucket, whose values never are.
func (w *pageWalk) leaf(id uint64, b, low, high []byte, buckets bool) {
	count, ok := w.elements(id, b, low, high, true)
	if !ok {
		return
	}
	want := uint32(0)
	if buckets {
		want = bucketElem
	}
	for i := range count {
		if flags := native.Uint32(b[pageHeadLen+i*elemLen:]); flags != want {
			w.badPage(id, "element %d has flags %#x, want %#x", i, flags, want)
			continue
		}
		if buckets {
			_, value := element(b, i, true)
			w.bucket(id, i, value)
		}
	}
}

// bucket checks a bucket's header, which is followed by a leaf page if the
// bucket is small enough to have no page of its own.
func (w *pageWalk) bucket(id uint64, i int, v []byte) {
	if len(v) < bucketHead {
		w.badPage(id, "bucket %d has no header", i)
		return
	}
	if root := native.Uint64(v); root != 0 {
		w.roots = append(w.roots, subtree{id: root})
		return
	}
	inline := v[bucketHead:]
	if len(inline) < pageHeadLen || native.Uint64(inline) != 0 || native.Uint16(inline[8:]) != leafPage || native.Uint32(inline[12:]) != 0 {
		w.badPage(id, "bucket %d has a damaged page inside", i)
		return
	}
	w.leaf(id, inline, nil, nil, false)
}

// freelist checks that every page is either in a tree or free, and none both.
func (w *pageWalk) freelist(id uint64) {
	if id == noFreelist {
		return
	}
	b, ok := w.load(id, "the free list")
	if !ok {
		return
	}
	if flags := native.Uint16(b[8:]); flags != freelistPage {
		w.badPage(id, "has type %#x, want the free list", flags)
		return
	}
	ids, count := b[pageHeadLen:], uint64(native.Uint16(b[10:]))
	if count == 0xFFFF {
		count, ids = native.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		w.badPage(id, "%d free pages do not fit in the list", count)
		return
	}
	last := uint64(1)
	for i := range count {
		free := native.Uint64(ids[8*i:])
		if free <= last || free >= w.hwm || w.seen[free].Load() {
			w.badPage(id, "free page %d is in use, out of order or outside the file", free)
			return
		}
		w.seen[free].Store(true)
		last = free
	}
	for p := range w.seen {
		if !w.seen[p].Load() && len(w.faults) == 0 {
			w.badPage(uint64(p), "is neither used nor free")
		}
	}
}
