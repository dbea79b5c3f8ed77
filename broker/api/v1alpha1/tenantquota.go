package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// TenantQuotaSpec says who the tenant is and what it was promised. Without
// namespaces it is a cohort: a node of the tree between tenants, with a quota of its
// own that all below it may use.
//
// +kubebuilder:validation:XValidation:rule="self.flavors.all(f, self.flavors.exists_one(g, g.name == f.name))",message="flavors[].name must be unique within a TenantQuota"
// +kubebuilder:validation:XValidation:rule="has(self.namespaces) || !has(self.cohort)",message="cohort is for tenants, which have namespaces; a cohort names its parent"
// +kubebuilder:validation:XValidation:rule="!has(self.namespaces) || !has(self.parent)",message="parent is for cohorts, which have no namespaces; a tenant names its cohort"
// +kubebuilder:validation:XValidation:rule="!has(self.namespaces) || size(self.flavors) > 0",message="flavors must not be empty for a tenant"
// +kubebuilder:validation:XValidation:rule="!has(self.namespaces) || self.flavors.all(f, !has(f.lendingLimit) || f.lendingLimit <= f.nominal)",message="flavors[].lendingLimit must not exceed nominal for a tenant"
// +kubebuilder:validation:XValidation:rule="self.flavors.all(f, !has(f.sliceOf) || self.flavors.exists(g, g.name == f.sliceOf && !has(g.sliceOf)))",message="flavors[].sliceOf must name a flavor of the same TenantQuota that is not a slice itself"
// +kubebuilder:validation:XValidation:rule="has(self.namespaces) == has(oldSelf.namespaces)",message="namespaces cannot be added or removed: a tenant does not become a cohort, nor a cohort a tenant; create another TenantQuota"
type TenantQuotaSpec struct {
	// Namespaces selects the namespaces that belong to the tenant. A namespace
	// selected by two TenantQuotas belongs to neither, and both say so. Absent: this
	// is a cohort.
	// +optional
	Namespaces *metav1.LabelSelector `json:"namespaces,omitempty"`

	// Cohort names the group of tenants that lend to and borrow from each other. It
	// may, but need not, be a TenantQuota without namespaces. Tenants without a
	// cohort neither lend nor borrow.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Cohort string `json:"cohort,omitempty"`

	// Parent names the cohort that this cohort is part of. Absent: it is the root of
	// its tree.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Parent string `json:"parent,omitempty"`

	// Flavors are the kinds of units that were promised. A cohort's are beside those
	// of its tenants, for all of them.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:default={}
	// +kubebuilder:validation:MaxItems=16
	Flavors []FlavorQuota `json:"flavors,omitempty"`

	// Weight is the share of what can be borrowed, against the other members of the
	// same cohort. 0: only what nobody else wants. Absent: 1.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Weight *int64 `json:"weight,omitempty"`

	// MaxPriorityClass is the highest PriorityClass that the tenant's pods may
	// use. Absent: ebbtide-online.
	// +optional
	// +kubebuilder:default="ebbtide-online"
	// +kubebuilder:validation:MaxLength=253
	MaxPriorityClass string `json:"maxPriorityClass,omitempty"`
}

// FlavorQuota is what a tenant was promised of one flavor. A flavor is a
// resource on the nodes that a selector chooses; TenantQuotas that use the same
// flavor name must agree on both.
//
// +kubebuilder:validation:XValidation:rule="!has(self.sliceOf) || self.sliceOf != self.name",message="sliceOf must name another flavor"
// +kubebuilder:validation:XValidation:rule="has(self.sliceOf) == has(self.slices)",message="sliceOf and slices are given together"
// +kubebuilder:validation:XValidation:rule="!has(self.sliceOf) || (self.nominal == 0 && !has(self.borrowingLimit) && !has(self.lendingLimit))",message="a flavor with sliceOf draws on the quota of that flavor: it has no nominal, borrowingLimit or lendingLimit of its own"
type FlavorQuota struct {
	// Name of the flavor, e.g. h100.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Name string `json:"name"`
	// Resource is the extended resource that is counted: nvidia.com/gpu,
	// nvidia.com/gpu.*, or nvidia.com/mig-*. The admission policies keep pods from
	// these by any other way than Ebbtide, so that no other can be counted.
	// +required
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^nvidia[.]com/(gpu([.][-a-z0-9.]*[a-z0-9])?|mig-[-a-z0-9.]*[a-z0-9])$')",message="resource must be nvidia.com/gpu, nvidia.com/gpu.* or nvidia.com/mig-*: the admission policies guard no other"
	Resource string `json:"resource"`
	// NodeSelector chooses the nodes whose resource is of this flavor. Absent:
	// every node that has the resource.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// SliceOf makes the flavor a MIG profile of another flavor's GPUs: what is used of
	// it counts against that flavor's quota, by compute and by memory slices. The
	// other flavor must be listed too, on the same nodes.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	SliceOf string `json:"sliceOf,omitempty"`
	// Slices is how much of one GPU one unit takes; together with SliceOf.
	// +optional
	Slices *GPUSlices `json:"slices,omitempty"`
	// Nominal is the number of units that can always be had.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Nominal int64 `json:"nominal"`
	// BorrowingLimit bounds what may be used beyond Nominal. Absent: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000
	BorrowingLimit *int64 `json:"borrowingLimit,omitempty"`
	// LendingLimit bounds how much of it the cohort above may use; the rest stays
	// home. Absent: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000
	LendingLimit *int64 `json:"lendingLimit,omitempty"`
}

// GPUSlices are the parts of one GPU that a MIG instance takes: of 7 compute slices
// and 8 memory slices.
type GPUSlices struct {
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=7
	Compute int64 `json:"compute"`
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=8
	Memory int64 `json:"memory"`
}

// FlavorUsage is what a tenant uses of one flavor now, in units.
type FlavorUsage struct {
	// Name of the flavor.
	Name string `json:"name"`
	// Used counts units held by the tenant's own pods, borrowed ones included; of a
	// cohort, by all below it.
	Used int64 `json:"used"`
	// Borrowed counts units held on loan from others.
	Borrowed int64 `json:"borrowed"`
	// Lent counts units of the tenant that others hold.
	Lent int64 `json:"lent"`
	// Available is how many more units could be had now without taking any back, as
	// far as quotas go.
	// +optional
	Available int64 `json:"available,omitempty"`
}

// TenantQuotaStatus is what the broker saw last.
type TenantQuotaStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Flavors is the tenant's use, one entry per flavor of the spec.
	// +optional
	// +listType=map
	// +listMapKey=name
	Flavors []FlavorUsage `json:"flavors,omitempty"`
	// WeightedShare orders tenants in the fair sharing of what can be borrowed, in
	// thousandths: the largest share, over the flavors, of what its cohort can lend,
	// by weight. 0 while nothing is borrowed.
	// +optional
	WeightedShare int64 `json:"weightedShare,omitempty"`
	// Conditions: Accepted.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// TenantQuota is a team's share of the cluster, or a cohort's. Administrators write
// it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=tq,categories=ebbtide
// +kubebuilder:printcolumn:name="Cohort",type=string,JSONPath=`.spec.cohort`
// +kubebuilder:printcolumn:name="Parent",type=string,priority=1,JSONPath=`.spec.parent`
// +kubebuilder:printcolumn:name="Flavors",type=string,JSONPath=`.spec.flavors[*].name`
// +kubebuilder:printcolumn:name="Nominal",type=string,JSONPath=`.spec.flavors[*].nominal`
// +kubebuilder:printcolumn:name="Used",type=string,JSONPath=`.status.flavors[*].used`
// +kubebuilder:printcolumn:name="Borrowed",type=string,priority=1,JSONPath=`.status.flavors[*].borrowed`
// +kubebuilder:printcolumn:name="Lent",type=string,priority=1,JSONPath=`.status.flavors[*].lent`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="!has(self.spec.parent) || self.spec.parent != self.metadata.name",message="spec.parent must name another cohort"
type TenantQuota struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec TenantQuotaSpec `json:"spec"`
	// +optional
	Status TenantQuotaStatus `json:"status,omitempty"`
}

// TenantQuotaList is a list of TenantQuotas.
//
// +kubebuilder:object:root=true
type TenantQuotaList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TenantQuota `json:"items"`
}
