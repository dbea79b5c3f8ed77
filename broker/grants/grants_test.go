package grants

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

type grant struct {
	Lender string `json:"lender,omitempty"`
	Node   string `json:"node"`
	Flavor string `json:"flavor"`
	Count  int64  `json:"count"`
}

func TestSplit(t *testing.T) {
	g := func(lender, node string, n int64) grant { return grant{lender, node, "h100", n} }
	all := []grant{g("chat", "a", 3), g("", "a", 2), g("chat", "a", 2), g("chat", "b", 1)}
	for name, test := range map[string]struct{ others, left, taken []grant }{
		"nothing":      {nil, all, []grant{}},
		"all":          {all, []grant{}, all},
		"over two":     {[]grant{g("chat", "a", 4)}, []grant{g("", "a", 2), g("chat", "a", 1), g("chat", "b", 1)}, []grant{g("chat", "a", 3), g("chat", "a", 1)}},
		"more than is": {[]grant{g("chat", "b", 9)}, all[:3], all[3:]},
		"not there":    {[]grant{g("code", "a", 1), g("", "b", 1), {"", "a", "a100", 1}}, all, []grant{}},
		"told twice":   {[]grant{g("", "a", 1), g("", "a", 1)}, []grant{all[0], all[2], all[3]}, all[1:2]},
		"beyond count": {[]grant{g("chat", "b", math.MaxInt64), g("chat", "b", math.MaxInt64)}, all[:3], all[3:]},
		"less than 0":  {[]grant{g("chat", "a", -4), g("", "a", 1)}, []grant{all[0], g("", "a", 1), all[2], all[3]}, []grant{g("", "a", 1)}},
	} {
		left, taken := Split(all, test.others)
		if diff := cmp.Diff([][]grant{test.left, test.taken}, [][]grant{left, taken}); diff != "" {
			t.Errorf("%s: left and taken (-want +got):\n%s", name, diff)
		}
	}
}

// What is left and what was taken are all there was, and no more was taken than was named.
func TestSplitLosesNothing(t *testing.T) {
	draw := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) grant {
		return grant{
			rapid.SampledFrom([]string{"", "chat"}).Draw(t, "lender"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "node"),
			"h100", rapid.Int64Range(-1, 4).Draw(t, "count"),
		}
	}), 0, 6)
	sum := func(lists ...[]grant) map[grant]int64 {
		out := map[grant]int64{}
		for _, list := range lists {
			for _, g := range list {
				out[grant{Lender: g.Lender, Node: g.Node}] += max(0, g.Count)
			}
		}
		return out
	}
	rapid.Check(t, func(t *rapid.T) {
		all, others := draw.Draw(t, "all"), draw.Draw(t, "others")
		left, taken := Split(all, others)
		have, named, both := sum(all), sum(others), sum(left, taken)
		for key, n := range have {
			if both[key] != n {
				t.Fatalf("of %+v %d are accounted for, want %d", key, both[key], n)
			}
		}
		for key, n := range sum(taken) {
			if want := min(have[key], named[key]); n != want {
				t.Fatalf("of %+v %d were taken, want %d", key, n, want)
			}
		}
		if !cmp.Equal(left, Without(all, others)) {
			t.Fatal("Without says something else")
		}
	})
}
