package ledger

import (
	"math/rand/v2"
	"testing"
)

func TestHashSet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var s hashSet
	want := map[uint64]bool{}
	for i := range 20_000 {
		h := rng.Uint64() << (i % 40) // many share their lowest bits
		if got := s.has(h); got != want[h|1] {
			t.Fatalf("has(%x) is %t", h, got)
		}
		s.add(h)
		s.add(h)
		want[h|1] = true
	}
	for h := range want {
		if !s.has(h) || !s.has(h&^1) {
			t.Fatalf("%x is not there", h)
		}
	}
	if s.used != len(want) {
		t.Errorf("%d are there, want %d", s.used, len(want))
	}
}
