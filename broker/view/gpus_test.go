package view

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLayout(t *testing.T) {
	tests := []struct {
		name  string
		slots int
		list  []Slice
		want  string
	}{
		{"nothing", 8, nil, "|.|.|.|.|.|.|.|.|"},
		{"a gap", 8, []Slice{{Start: 0, Size: 4, Hold: HoldLoan}, {Start: 5, Size: 1, Hold: HoldPinned}}, "|LLLL|.|P|.|.|"},
		{"all of it", 4, []Slice{{Start: 0, Size: 4, Hold: HoldFree}}, "|----|"},
		{"what cannot be is left out", 4, []Slice{{Start: 0, Size: 2, Hold: HoldFree}, {Start: 1, Size: 2, Hold: HoldLoan}, {Start: 3, Size: 2, Hold: HoldLoan}}, "|--|.|.|"},
		{"twelve slots", 12, []Slice{{Start: 0, Size: 6, Hold: HoldService}, {Start: 9, Size: 3, Hold: HoldKept}}, "|SSSSSS|.|.|.|ppp|"},
	}
	for _, test := range tests {
		if got := Layout(test.slots, test.list); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestGPUs(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	table := GPUs([]GPU{
		{Node: "gpu-0", UUID: "GPU-5d1f7b2a-1", Product: "NVIDIA A100", Slots: 8, State: "Ready", Heard: now.Add(-9 * time.Second), Making: []string{"4g.20gb:Made"}, Slices: []Slice{
			{"4g.20gb", 0, 4, HoldLoan, false, "research/tune-0"}, {"1g.5gb", 4, 1, HoldPinned, true, "serving/chat-0"}, {"1g.5gb", 5, 1, HoldKept, true, ""}, {"1g.5gb", 6, 1, HoldFree, false, ""},
		}},
		{Node: "gpu-1", UUID: "GPU-9", State: "Ready", Heard: now, Whole: Slice{Hold: HoldService, Holder: "serving/big-0"}},
	}, now)
	want := [][]string{
		{"gpu-0", "GPU-5d1f7b2a", "GPU-5d1f7b2a-1", "NVIDIA_A100", "|LLLL|P|p|-|.|", "1x4g.20gb,3x1g.5gb", "2", "1", "1", "1", "4g.20gb:Made", "Ready", "9s", "0=research/tune-0,4=serving/chat-0"},
		{"gpu-1", "GPU-9", "GPU-9", None, None, None, "0", "1", "0", "0", None, "Ready", "0s", "0=serving/big-0"},
	}
	if diff := cmp.Diff(want, table.Rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}
