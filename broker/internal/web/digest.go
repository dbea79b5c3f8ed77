package web

import (
	"hash/maphash"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// What a decision shows, by the words of /watch.
const (
	listLenders = iota
	listQueue
	listLoans
	lists
)

// digest is what a decision shows of each namespace in each list, as a number that is another
// one if that is something else. The numbers mean nothing outside of this process.
type digest struct {
	all [lists]uint64
	of  map[string]*[lists]uint64 // by namespace
}

// digests keeps the last one, so that many who wait need but one.
type digests struct {
	mu   sync.Mutex
	last *Decision
	made *digest
}

func (k *digests) about(d *Decision) *digest {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last != d {
		k.last, k.made = d, newDigest(d)
	}
	return k.made
}

var seed = maphash.MakeSeed()

// sum is over the fields of a row.
type sum struct{ maphash.Hash }

func newSum() *sum {
	s := &sum{}
	s.SetSeed(seed)
	return s
}

func (s *sum) text(list ...string) *sum {
	for _, t := range list {
		_, _ = s.WriteString(t) // never fails
		_ = s.WriteByte(0)
	}
	return s
}

func (s *sum) number(list ...int64) *sum {
	for _, n := range list {
		var b [8]byte
		for i := range b {
			b[i] = byte(n >> (8 * i))
		}
		_, _ = s.Write(b[:])
	}
	return s
}

func (s *sum) time(t time.Time) *sum { return s.number(t.UnixNano()) }

func newDigest(d *Decision) *digest {
	g := &digest{of: map[string]*[lists]uint64{}}
	in := &d.Record.Snapshot
	views := map[string]*lend.LenderView{}
	for i := range d.Record.Plan.Lenders {
		views[d.Record.Plan.Lenders[i].Name] = &d.Record.Plan.Lenders[i]
	}
	for i := range in.Lenders {
		l := &in.Lenders[i]
		said := d.about(lend.SubjectLender, l.Name, "")
		row := newSum().text(l.Name, said.Reason, said.Message).number(l.Desired, l.Running, l.Ready, int64(len(l.Pending)))
		if v := views[l.Name]; v != nil {
			row.number(v.Owned, v.Held, v.Need, v.Headroom, v.Lent, v.Lendable, int64(math.Round(v.Utilization*1000)))
		}
		g.add(listLenders, row, l.Name)
	}
	for _, p := range d.Record.Plan.Waiting {
		g.place(d, &p)
	}
	for i := range in.Loans {
		g.loan(d, &in.Loans[i])
	}
	return g
}

func (g *digest) place(d *Decision, p *lend.Place) {
	at, found := d.job(p.UID)
	if !found {
		return
	}
	j := &d.Record.Snapshot.Jobs[at]
	said := d.about(lend.SubjectJob, j.Name, j.UID)
	g.add(listQueue, newSum().text(j.Name, j.UID, said.Reason, said.Message).number(int64(p.Position), j.Pods, j.UnitsPerPod), j.Name)
}

func (g *digest) loan(d *Decision, l *lend.Loan) {
	said := d.about(lend.SubjectLoan, l.Name, "")
	row := newSum().text(l.Name, said.Reason, said.Message).time(l.ReclaimBy)
	for _, flag := range []bool{l.Reclaiming, l.Preempted, l.Finished, l.Quarantined, len(l.Shedding) > 0} {
		if flag {
			row.number(1)
		} else {
			row.number(0)
		}
	}
	names := []string{l.Name}
	for _, grant := range l.Grants {
		row.text(grant.Lender, grant.Node, grant.Flavor).number(grant.Count)
		names = append(names, grant.Lender)
	}
	g.add(listLoans, row, names...)
}

// add counts a row, once for each namespace of which a name is. The order of rows does not
// matter.
func (g *digest) add(list int, row *sum, names ...string) {
	value := row.Sum64()
	g.all[list] += value
	seen := map[string]bool{}
	for _, name := range names {
		namespace, _, found := strings.Cut(name, "/")
		if !found || seen[namespace] {
			continue
		}
		seen[namespace] = true
		if g.of[namespace] == nil {
			g.of[namespace] = &[lists]uint64{}
		}
		g.of[namespace][list] += value
	}
}

// seen is what the caller may see of it.
func (g *digest) seen(mine *rows) (sums [lists]uint64) {
	if mine.in == nil {
		return g.all
	}
	for namespace, of := range g.of {
		if !mine.shows(namespace + "/") {
			continue
		}
		for i := range sums {
			sums[i] += of[i]
		}
	}
	return sums
}
