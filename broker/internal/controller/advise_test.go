package controller

import (
	"testing"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// TestAdviseHasEveryPolicyAdvise: the broker never sees another mode than Advise, and
// without the setting sees what is written.
func TestAdviseHasEveryPolicyAdvise(t *testing.T) {
	for _, test := range []struct {
		config string
		mode   v1alpha1.LendingMode
		want   v1alpha1.LendingMode
	}{
		{"advise: true", v1alpha1.ModeLend, v1alpha1.ModeAdvise},
		{"advise: true", v1alpha1.ModeAdvise, v1alpha1.ModeAdvise},
		{"advise: false", v1alpha1.ModeLend, v1alpha1.ModeLend},
		{"", v1alpha1.ModeLend, v1alpha1.ModeLend},
		{"", v1alpha1.ModeAdvise, v1alpha1.ModeAdvise},
	} {
		c, err := ParseConfig([]byte(head + "\n" + test.config))
		if err != nil {
			t.Fatal(err)
		}
		policy := &v1alpha1.LendingPolicy{}
		policy.Spec.Mode = test.mode
		got, err := c.cached()(policy)
		if err != nil {
			t.Fatal(err)
		}
		if mode := got.(*v1alpha1.LendingPolicy).Spec.Mode; mode != test.want {
			t.Errorf("%q: a policy of mode %s is cached as %s, want %s", test.config, test.mode, mode, test.want)
		}
	}
}
