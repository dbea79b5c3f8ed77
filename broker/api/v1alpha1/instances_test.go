package v1alpha1

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInstances(t *testing.T) {
	refs := []InstanceRef{
		{GPU: "GPU-5d1f", Profile: "1g.5gb+me", Start: 4, Generation: 2},
		{GPU: "GPU-5d1f", Profile: "3g.20gb", Start: 0, Generation: 11},
	}
	text := FormatInstances(refs)
	if text != "GPU-5d1f/1g.5gb+me@4#2,GPU-5d1f/3g.20gb@0#11" {
		t.Errorf("text is %s", text)
	}
	got, err := ParseInstances(text)
	if diff := cmp.Diff(refs, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := ParseInstances(""); len(got) > 0 || err != nil {
		t.Errorf("of nothing: %v, %v", got, err)
	}
	for _, bad := range []string{"GPU-1", "GPU-1/1g.5gb@4", "GPU-1/1g.5gb@4#", "/1g.5gb@4#1", "GPU-1/1g.5gb@four#1", "GPU-1/1g.5gb@4#1,", "GPU-1/1g.5gb@4#-1", "GPU-1/1g.5gb@4#1 "} {
		if got, err := ParseInstances(bad); err == nil {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
}
