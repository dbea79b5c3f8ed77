package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ReshapeMode says whether idle slices may be made into others.
//
// +kubebuilder:validation:Enum=Never;Idle
type ReshapeMode string

const (
	// ReshapeNever lends slices in the shape that they have.
	ReshapeNever ReshapeMode = "Never"
	// ReshapeIdle also makes idle slices into the ones that a waiting job asks for, where
	// the trough is expected to last long enough, and back before the service needs them.
	ReshapeIdle ReshapeMode = "Idle"
)

// MIGPolicy is how a service's slices are lent.
//
// +kubebuilder:validation:XValidation:rule="!has(self.profile) || self.profile.matches('^[1-9][0-9]*g[.][1-9][0-9]*gb([+-][a-z.]+)?$')",message="profile must be a MIG profile's name, such as 1g.5gb"
// +kubebuilder:validation:XValidation:rule="!has(self.profile) || !self.profile.matches('^[1-9]g[.]') || int(self.profile.substring(0, 1)) * self.pinned <= 7",message="pinned must fit on one GPU, which has 7 compute slices at most"
type MIGPolicy struct {
	// Profile of the slices, such as 1g.5gb. Absent: that of the resource which the
	// target's pods ask for.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Profile string `json:"profile,omitempty"`
	// Pinned is how many slices of each GPU (not of the service) are never lent and never
	// reshaped, whether a pod is on them or not: those that the service's pods are on, and
	// beyond them the places that leave the most for others.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16
	Pinned int32 `json:"pinned,omitempty"`
	// Reshape says whether idle slices may be made into the ones that a waiting job asks
	// for: Idle, or Never, and then slices are lent in the shape that they have.
	// +optional
	// +kubebuilder:default=Never
	Reshape ReshapeMode `json:"reshape,omitempty"`
	// MinTrough is the shortest time for which a GPU is reshaped: it is not, unless what
	// the slices' owner needs is expected to stay below for that long. It counts as no less
	// than ten times what a change and its undoing take as measured.
	// +optional
	// +kubebuilder:default="30m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="minTrough must not be negative"
	MinTrough *metav1.Duration `json:"minTrough,omitempty"`
}
