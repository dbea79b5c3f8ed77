package witness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/e2e/witness/auditlog"
	"github.com/ebbtide/ebbtide/e2e/witness/books"
	"github.com/ebbtide/ebbtide/e2e/witness/history"
	"github.com/ebbtide/ebbtide/e2e/witness/laws"
	"github.com/ebbtide/ebbtide/e2e/witness/linear"
	"github.com/ebbtide/ebbtide/e2e/witness/match"
)

const (
	// looks is how often Loans and books are compared before they are said to differ: the
	// one is always written a moment before the other.
	looks = 5
	// between two looks.
	between = 500 * time.Millisecond
	// search bounds how long one history is searched for an order.
	search = 10 * time.Second
	// watchLag is how much later than it happened a change may be seen by a watch.
	watchLag = time.Second
	// mostBreaches bounds what is told: one broken law may be broken again by every change.
	mostBreaches = 1000
)

// Judge says what was found until now: by the watches, in the audit log, and in the books as
// they are. It waits for changes that the watches may not have told of yet, and judges all in
// the order in which they were made. It may be called again.
func (w *Witness) Judge(ctx context.Context) (Report, error) {
	asked := time.Now()
	select {
	case <-ctx.Done():
		return Report{}, fmt.Errorf("judge: %w", context.Cause(ctx))
	case <-time.After(hold):
	}
	var compared match.Result
	var entries int
	var settled bool
	for i := range looks {
		shelf, n, err := w.read()
		if err != nil {
			return Report{}, err
		}
		w.watcher.Flush()
		w.mu.Lock()
		settled, entries = len(w.world.Unsettled()) == 0, n
		if shelf != nil {
			compared = w.seen.Compare(shelf, settled)
		}
		w.mu.Unlock()
		if len(compared.Findings) == 0 || i+1 == looks {
			break
		}
		select {
		case <-ctx.Done():
			return Report{}, fmt.Errorf("judge: %w", context.Cause(ctx))
		case <-time.After(between):
		}
	}
	r := Report{Others: map[string]int{}, Entries: entries, Settled: settled, Said: compared.Said, Billed: compared.Billed, Worst: compared.Worst}
	for _, f := range compared.Findings {
		r.find(string(f.Kind), f.String())
	}
	w.mu.Lock()
	r.Events, r.Late, r.Loans, r.Acked = len(w.events), w.world.Late(), w.seen.Loans(), w.seen.Acked()
	events, initial, ended := w.events, w.initial, w.seen.Ended()
	w.mu.Unlock()
	world, breaches := replay(events)
	for _, b := range breaches {
		if b.At.After(asked) {
			continue // what would excuse it may not have been told yet
		}
		r.find(string(b.Law), b.String())
	}
	limits := limitsOf(world)
	return r, w.order(&r, func(writes []auditlog.Write) []linear.Op {
		return linear.Requests(writes, limits, initial, ended)
	})
}

// replay is the cluster as it was, and the laws that were broken, by events in any order.
func replay(events []history.Event) (*laws.World, []laws.Breach) {
	world := laws.NewWorld()
	var breaches []laws.Breach
	for _, e := range history.InOrder(events) {
		found := world.Apply(e)
		breaches = append(breaches, found[:min(len(found), mostBreaches-len(breaches))]...)
	}
	return world, breaches
}

// order asks whether all requests could have been one after the other.
func (w *Witness) order(r *Report, requests func([]auditlog.Write) []linear.Op) error {
	writes, err := w.tail.Writes(func(*auditlog.Write) bool { return true })
	if err != nil {
		return err
	}
	r.Writes = len(writes)
	for _, text := range linear.Stale(writes) {
		r.find(string(laws.Epochs), text)
	}
	found, err := linear.Check(requests(writes), search, w.opts.Folder)
	if err != nil {
		return err
	}
	r.Undecided = len(found.Undecided)
	units := make([]string, 0, len(found.Illegal))
	for unit := range found.Illegal {
		units = append(units, unit)
	}
	slices.Sort(units)
	for _, unit := range units {
		r.find(linear.Law(unit), linear.Describe(unit, found.Illegal[unit]))
		r.Histories = append(r.Histories, found.Illegal[unit])
	}
	return nil
}

// limitsOf are what nodes had at most, and what tenants were promised.
func limitsOf(world *laws.World) []linear.Limit {
	var out []linear.Limit
	for _, c := range world.Capacities() {
		out = append(out, linear.Limit{Unit: linear.NodeUnit(c.Node, c.Resource), Count: c.Units})
	}
	known := map[string]bool{}
	for _, p := range world.Promises() {
		from, until := p.Since.Add(-watchLag), p.Since.Add(laws.Lag)
		if first := linear.QuotaUnit(p.Tenant, p.Flavor); !known[first] { // what was promised before, nobody saw
			known[first] = true
			from, until = time.Time{}, time.Time{}
		}
		out = append(out, linear.Limit{Unit: linear.QuotaUnit(p.Tenant, p.Flavor), Count: p.Nominal, From: from, Until: until},
			linear.Limit{Unit: linear.LimitUnit(p.Tenant, p.Flavor), Count: p.All, From: from, Until: until})
	}
	return out
}

// file is a ledger file as it was read.
type file struct {
	path string
	data []byte
	base uint64
}

// read judges each ledger, with all its segments; nil if there are none to be judged.
func (w *Witness) read() (shelf []match.Book, entries int, err error) {
	if w.opts.Books == nil {
		return nil, 0, nil
	}
	ledgers := map[[16]byte][]file{}
	for _, path := range w.opts.Books() {
		data, err := still(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // lost: what it had is in no book
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read a book: %w", err)
		}
		alone := books.Judge(data)
		ledgers[alone.ID] = append(ledgers[alone.ID], file{path, data, alone.Base})
	}
	shelf = []match.Book{}
	for _, files := range ledgers {
		slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.base, b.base) })
		all := make([][]byte, len(files))
		for i := range files {
			all[i] = files[i].data
		}
		b := match.Book{Path: files[len(files)-1].path, Finding: books.JudgeFiles(all)}
		shelf, entries = append(shelf, b), entries+len(b.Finding.Records)
	}
	return shelf, entries, nil
}

// still reads a file that somebody may be writing to, at a moment at which nobody does.
func still(path string) ([]byte, error) {
	for end := time.Now().Add(stillWithin); time.Now().Before(end); time.Sleep(settledFile) {
		before, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		after, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if os.SameFile(before, after) && before.Size() == after.Size() && before.ModTime().Equal(after.ModTime()) && time.Since(after.ModTime()) > settledFile {
			return data, nil
		}
	}
	return nil, fmt.Errorf("%s is written to all the time", path)
}

// stillWithin bounds how long a file is waited for.
const stillWithin = 10 * time.Second

// settledFile is how long a file must not have been written to: a writer that is between two
// pages goes on sooner, and times of files are coarse.
const settledFile = 50 * time.Millisecond
