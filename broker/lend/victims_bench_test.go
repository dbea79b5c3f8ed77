package lend

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// fullOf is a cluster of nodes of 8 that gangs of one-unit pods fill in random order,
// with equally many units in gangs of each size.
func fullOf(nodes int, r dice, sizes ...int64) puzzle {
	var gangs []int64
	for _, size := range sizes {
		for n := int64(nodes) * 8 / int64(len(sizes)) / size; n > 0; n-- {
			gangs = append(gangs, size)
		}
	}
	r.Shuffle(len(gangs), func(i, j int) { gangs[i], gangs[j] = gangs[j], gangs[i] })
	var p puzzle
	at := int64(0)
	for i, size := range gangs {
		// Most are young, and a few are very old.
		age := math.Exp(r.NormFloat64()*1.5 + 8)
		c := Candidate{
			Name: fmt.Sprintf("loan-%04d", i), LostWork: float64(size) * math.Round(age+60),
			Since: time.Unix(1_000_000, 0).Add(-time.Duration(age) * time.Second),
			Pods:  size, UnitsPerPod: 1, ShedCost: 60,
		}
		for left := size; left > 0; {
			n := min(left, 8-at%8)
			c.Grants = append(c.Grants, Grant{Node: fmt.Sprintf("n%03d", at/8), Flavor: "h100", Count: n})
			at, left = at+n, left-n
		}
		p.candidates = append(p.candidates, c)
	}
	for i := range nodes {
		p.rooms = append(p.rooms, Room{Node: fmt.Sprintf("n%03d", i), Flavor: "h100"})
	}
	return p
}

func (p puzzle) owing(size, pods int64) puzzle {
	p.owed = []Owed{{Flavor: "h100", UnitsPerPod: size, Pods: pods}}
	return p
}

func dealt(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, 3))} }

func BenchmarkChoose(b *testing.B) {
	gangs := []int64{1, 2, 4, 8, 16, 32, 64}
	for name, p := range map[string]puzzle{
		"nodes=500/loans=4000/pods=1x1":  fullOf(500, dealt(1), 1).owing(1, 1),
		"nodes=500/loans=4000/pods=1x8":  fullOf(500, dealt(1), 1).owing(8, 1),
		"nodes=500/loans=4000/pods=64x1": fullOf(500, dealt(1), 1).owing(1, 64),
		"nodes=100/gangs/pods=64x1":      fullOf(100, dealt(1), gangs...).owing(1, 64),
		"nodes=100/gangs/pods=8x8":       fullOf(100, dealt(1), gangs...).owing(8, 8),
		"nodes=16/gangs/pods=16x1":       fullOf(16, dealt(1), gangs[:6]...).owing(1, 16),
		"nodes=16/gangs/pods=4x4":        fullOf(16, dealt(1), gangs[:6]...).owing(4, 4),
		"nodes=16/gangs/pods=4x8":        fullOf(16, dealt(1), gangs[:6]...).owing(8, 4),
		"nodes=16/loans=128/pods=8x4":    fullOf(16, dealt(1), 1).owing(4, 8),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			proved := 0.0
			for b.Loop() {
				choice, ok := Choose(p.rooms, p.owed, p.candidates)
				if !ok {
					b.Fatal("there is a way, and none was found")
				}
				if choice.Proved {
					proved = 1
				}
			}
			b.ReportMetric(proved, "proved")
		})
	}
}
