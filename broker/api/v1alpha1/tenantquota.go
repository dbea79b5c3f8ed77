package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// TenantQuotaSpec says who the tenant is and what it was promised.
//
// +kubebuilder:validation:XValidation:rule="self.flavors.all(f, self.flavors.exists_one(g, g.name == f.name))",message="flavors[].name must be unique within a TenantQuota"
type TenantQuotaSpec struct {
	// Namespaces selects the namespaces that belong to the tenant. A namespace
	// selected by two TenantQuotas belongs to neither, and both say so.
	// +required
	Namespaces metav1.LabelSelector `json:"namespaces"`

	// Cohort names the group of tenants that lend to and borrow from each other.
	// Tenants without a cohort neither lend nor borrow.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Cohort string `json:"cohort,omitempty"`

	// Flavors are the kinds of units the tenant was promised.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Flavors []FlavorQuota `json:"flavors"`

	// MaxPriorityClass is the highest PriorityClass that the tenant's pods may
	// use. Absent: ebbtide-online.
	// +optional
	// +kubebuilder:default="ebbtide-online"
	MaxPriorityClass string `json:"maxPriorityClass,omitempty"`
}

// FlavorQuota is what a tenant was promised of one flavor. A flavor is a
// resource on the nodes that a selector chooses; TenantQuotas that use the same
// flavor name must agree on both.
//
// +kubebuilder:validation:XValidation:rule="!has(self.lendingLimit) || self.lendingLimit <= self.nominal",message="lendingLimit must not exceed nominal"
type FlavorQuota struct {
	// Name of the flavor, e.g. h100.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Name string `json:"name"`
	// Resource is the extended resource that is counted, e.g. nvidia.com/gpu.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Resource string `json:"resource"`
	// NodeSelector chooses the nodes whose resource is of this flavor. Absent:
	// every node that has the resource.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Nominal is the number of units the tenant can always have.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Nominal int64 `json:"nominal"`
	// BorrowingLimit bounds what the tenant may use beyond Nominal. Absent: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	BorrowingLimit *int64 `json:"borrowingLimit,omitempty"`
	// LendingLimit bounds how much of Nominal the tenant's cohort may use; the
	// rest stays home. Absent: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	LendingLimit *int64 `json:"lendingLimit,omitempty"`
}

// FlavorUsage is what a tenant uses of one flavor now, in units.
type FlavorUsage struct {
	// Name of the flavor.
	Name string `json:"name"`
	// Used counts units held by the tenant's own pods, borrowed ones included.
	Used int64 `json:"used"`
	// Borrowed counts units held on loan from others.
	Borrowed int64 `json:"borrowed"`
	// Lent counts units of the tenant that others hold.
	Lent int64 `json:"lent"`
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
	// Conditions: Accepted.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// TenantQuota is a team's share of the cluster. Administrators write it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=tq,categories=ebbtide
// +kubebuilder:printcolumn:name="Cohort",type=string,JSONPath=`.spec.cohort`
// +kubebuilder:printcolumn:name="Flavors",type=string,JSONPath=`.spec.flavors[*].name`
// +kubebuilder:printcolumn:name="Nominal",type=string,JSONPath=`.spec.flavors[*].nominal`
// +kubebuilder:printcolumn:name="Used",type=string,JSONPath=`.status.flavors[*].used`
// +kubebuilder:printcolumn:name="Borrowed",type=string,priority=1,JSONPath=`.status.flavors[*].borrowed`
// +kubebuilder:printcolumn:name="Lent",type=string,priority=1,JSONPath=`.status.flavors[*].lent`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
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
