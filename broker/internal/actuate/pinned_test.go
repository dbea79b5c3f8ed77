package actuate

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/gpunodes"
)

// What a policy's condition says of the slices that it keeps.
func TestPinnedCondition(t *testing.T) {
	slices := func(units, wanted int64, cards, bad, unseen int) *gather.Slices {
		return &gather.Slices{Pinned: 3, Unseen: unseen, Pins: gpunodes.Pins{Units: units, Wanted: wanted, Cards: cards, Bad: bad, Best: []int{4, 5, 6}, Most: 7}}
	}
	tests := []struct {
		name   string
		slices *gather.Slices
		status metav1.ConditionStatus
		reason string
		words  string
	}{
		{"none are wanted", nil, "", "", ""},
		{"nobody sees GPUs", slices(0, 0, 0, 0, 0), metav1.ConditionFalse, "NoAgent", "nothing is kept"},
		{"nobody sees some", slices(6, 6, 2, 0, 1), metav1.ConditionFalse, "NoAgent", "on 1 nodes"},
		{"some are missing", slices(5, 6, 2, 1, 0), metav1.ConditionFalse, "SlicesMissing", "5 of 6"},
		{"some are elsewhere", slices(6, 6, 2, 1, 0), metav1.ConditionFalse, "BadlyPlaced", "on 1 of 2 GPUs the slices that are kept are not at the slots 4, 5, 6"},
		{"all is well", slices(6, 6, 2, 0, 0), metav1.ConditionTrue, "WellPlaced", "3 slices of each of 2 GPUs"},
	}
	for _, test := range tests {
		list := []metav1.Condition{{Type: v1alpha1.ConditionPinned, Status: metav1.ConditionTrue, Reason: "Before"}}
		conditions{&list, 7}.pinned(test.slices)
		c := meta.FindStatusCondition(list, v1alpha1.ConditionPinned)
		if test.reason == "" {
			if c != nil {
				t.Errorf("%s: %+v", test.name, c)
			}
			continue
		}
		if c == nil || c.Status != test.status || c.Reason != test.reason || !strings.Contains(c.Message, test.words) {
			t.Errorf("%s: %+v", test.name, c)
		}
	}
}
