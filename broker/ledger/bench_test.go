package ledger

import (
	"fmt"
	"testing"
)

// One durable entry, of a gang on 1 and on 64 nodes.
func BenchmarkAppend(b *testing.B) {
	for _, nodes := range []int{1, 64} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			l := openAt(b, tempPath(b), Options{})
			n := 0
			for b.Loop() {
				e := lent(LendIntent, n)
				e.Grants = e.Grants[:0]
				for i := range nodes {
					e.Grants = append(e.Grants, Grant{Lender: "serving/chat", Node: fmt.Sprintf("gpu-%03d", i), Flavor: "h100", Count: 8})
				}
				mustAppend(b, l, e)
				n++
			}
		})
	}
}

// Opening verifies every entry.
func BenchmarkOpen(b *testing.B) {
	path := tempPath(b)
	l := openAt(b, path, Options{})
	fill(b, l, 3000)
	entries, _ := l.Head()
	mustClose(b, l)
	for b.Loop() {
		mustClose(b, openAt(b, path, Options{}))
	}
	b.ReportMetric(float64(entries), "entries")
}
