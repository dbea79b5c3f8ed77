package lend

import (
	"testing"

	"pgregory.net/rapid"
)

// The fit test never says yes wrongly, and is exact for sizes that divide each
// other.
func TestFitsAgreesWithTheExactPacker(t *testing.T) {
	for name, sizes := range map[string][]int64{"dividing": {1, 2, 4, 8}, "odd": {2, 3, 5, 7}} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				rooms := rapid.SliceOfN(rapid.Int64Range(-2, 9), 0, 4).Draw(t, "rooms")
				pods := rapid.SliceOfN(rapid.SampledFrom(sizes), 0, 8).Draw(t, "pods")
				var b bins
				for _, r := range rooms {
					b.add(r, 1)
				}
				var want []shape
				for _, p := range pods {
					want = with(want, shape{p, 1})
				}
				got, exact := b.fits(want), packs(rooms, pods)
				if got && !exact || name == "dividing" && got != exact {
					t.Fatalf("fits = %v, but packs = %v", got, exact)
				}
			})
		})
	}
}

// Reach is the largest number that fits, and bins keep no empty entries.
func TestReachAndShift(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b bins
		rooms := rapid.SliceOfN(rapid.Int64Range(0, 9), 1, 5).Draw(t, "rooms")
		for _, r := range rooms {
			b.add(r, 1)
		}
		i := rapid.IntRange(0, len(rooms)-1).Draw(t, "node")
		to := rapid.Int64Range(-1, 9).Draw(t, "to")
		b.shift(rooms[i], to, 1)
		rooms[i] = to
		placed := []shape{{4, b.reach(nil, shape{4, rapid.Int64Range(0, 3).Draw(t, "first")})}}
		size := rapid.SampledFrom([]int64{1, 2, 4, 8}).Draw(t, "size")
		const most = 6
		n := b.reach(placed, shape{size, most})
		pods := repeat([]Owed{{UnitsPerPod: 4, Pods: placed[0].pods}, {UnitsPerPod: size, Pods: n}}, "")
		if !packs(rooms, pods) || n < most && packs(rooms, append(pods, size)) {
			t.Fatalf("reach %d of size %d beside %v in %v", n, size, placed, rooms)
		}
		for _, bin := range b {
			if bin.nodes <= 0 || bin.free <= 0 {
				t.Fatalf("empty bin in %v", b)
			}
		}
	})
}
