package v1alpha1

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func TestClaimedResource(t *testing.T) {
	for template, want := range map[string]corev1.ResourceName{
		"mig-4g.20gb.ebbtide.dev": "nvidia.com/mig-4g.20gb", "mig-1g.5gb.me.ebbtide.dev": "nvidia.com/mig-1g.5gb.me",
		"gpu.ebbtide.dev": "nvidia.com/gpu", "mig-4g.20gb": "", "nic.ebbtide.dev": "", "ebbtide.dev": "", ".ebbtide.dev": "", "gpu.ebbtide.dev.example.com": "",
	} {
		got, claimed := ClaimedResource(template)
		if claimed != (want != "") || claimed && got != want {
			t.Errorf("%s stands for %q, %v; want %q", template, got, claimed, want)
		}
	}
}

func TestClaimedUnits(t *testing.T) {
	spec := &corev1.PodSpec{ResourceClaims: []corev1.PodResourceClaim{
		{Name: "a", ResourceClaimTemplateName: ptr.To("mig-1g.5gb.ebbtide.dev")},
		{Name: "b", ResourceClaimName: ptr.To("mig-1g.5gb.ebbtide.dev")}, // none that the policies allow
		{Name: "c", ResourceClaimTemplateName: ptr.To("nic")},
		{Name: "d", ResourceClaimTemplateName: ptr.To("mig-1g.5gb.ebbtide.dev")},
	}}
	if n := ClaimedUnits(spec, "nvidia.com/mig-1g.5gb"); n != 2 {
		t.Errorf("%d units, want 2", n)
	}
	if got, want := ClaimedResources(spec), []corev1.ResourceName{"nvidia.com/mig-1g.5gb", "nvidia.com/mig-1g.5gb"}; !slices.Equal(got, want) {
		t.Errorf("resources %v, want %v", got, want)
	}
}
