package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// JobRef names the job that an admission belongs to, in the Loan's namespace.
type JobRef struct {
	// +required
	APIVersion string `json:"apiVersion"`
	// +required
	Kind string `json:"kind"`
	// +required
	Name string `json:"name"`
	// +required
	UID types.UID `json:"uid"`
	// SuspendPath is the JSON pointer of the field that keeps the job from running, such
	// as /spec/suspend. Empty: it has none, and stops when its pods are deleted.
	// +optional
	SuspendPath string `json:"suspendPath,omitempty"`
	// PodGroup is the value of the label ebbtide.dev/pod-group, if the job is a group of
	// pods of which the one named stands for all: every pod of the namespace with that
	// label is the job's. Empty for all other kinds.
	// +optional
	PodGroup string `json:"podGroup,omitempty"`
}

// Grant is a number of units of one flavor on one node.
type Grant struct {
	// Lender is the LendingPolicy (namespace/name) whose units these are, or
	// cohort:NAME for quota that nobody in the borrower's cohort uses. Empty: the
	// units are the borrower's own nominal quota.
	// +optional
	Lender string `json:"lender,omitempty"`
	// +required
	// +kubebuilder:validation:MinLength=1
	Node string `json:"node"`
	// +required
	// +kubebuilder:validation:MinLength=1
	Flavor string `json:"flavor"`
	// Count of units.
	// +required
	// +kubebuilder:validation:Minimum=1
	Count int64 `json:"count"`
}

// LoanSpec is one admitted job's units. It never changes.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a Loan's spec is immutable"
type LoanSpec struct {
	// +required
	Job JobRef `json:"job"`
	// Attempt is the job's admission number, from 1.
	// +required
	// +kubebuilder:validation:Minimum=1
	Attempt int32 `json:"attempt"`
	// Borrower is the tenant (TenantQuota name) that the job belongs to.
	// +required
	Borrower string `json:"borrower"`
	// Queue is the TrainingQueue that the job waited in.
	// +required
	Queue string `json:"queue"`
	// Resource that the flavor counts, e.g. nvidia.com/gpu.
	// +required
	Resource string `json:"resource"`
	// Pods is the size of the gang: none of them starts before all can.
	// +required
	// +kubebuilder:validation:Minimum=1
	Pods int32 `json:"pods"`
	// MinPods is how many of them an elastic job can go on with; 0 if it stops whole.
	// +optional
	MinPods int32 `json:"minPods,omitempty"`
	// IndexLabel is the label of the pods with their number, if the job keeps those of the
	// lowest numbers when it gets smaller, whoever was stopped. Empty: it keeps those that
	// run.
	// +optional
	IndexLabel string `json:"indexLabel,omitempty"`
	// UnitsPerPod is what each pod of the gang asks for.
	// +required
	// +kubebuilder:validation:Minimum=1
	UnitsPerPod int64 `json:"unitsPerPod"`
	// Grants say whose units the job holds, and where. Their counts add up to
	// pods × unitsPerPod.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1024
	Grants []Grant `json:"grants"`
	// MaxGrace is the longest that the job's pods may take to stop for the lenders: the
	// shortest maxGrace among these, of which a cohort's is the broker's setting, less the
	// time that it takes to undo what was made of their slices for the loan; 0 if there is
	// no lender.
	// +optional
	MaxGrace metav1.Duration `json:"maxGrace,omitempty"`
	// OpID identifies the operation in the ledger.
	// +required
	OpID string `json:"opID"`
	// Epoch of the broker that made the loan.
	// +required
	Epoch int64 `json:"epoch"`
}

// Conditions of a Loan.
const (
	// LoanActive: the job may hold the units.
	LoanActive = "Active"
	// LoanReclaiming: the units have been asked back; the grace is running.
	LoanReclaiming = "Reclaiming"
	// LoanQuarantined: its pods did not go although their time was over long ago, and so its
	// units are in nobody's hands. It is returned when they are gone.
	LoanQuarantined = "Quarantined"
	// LoanReturned: all units are proven free.
	LoanReturned = "Returned"
)

// LoanStatus is the course of the loan.
type LoanStatus struct {
	// Conditions: Active, Reclaiming, Quarantined, Returned.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// ReclaimBy is when what still holds the units is killed.
	// +optional
	ReclaimBy *metav1.Time `json:"reclaimBy,omitempty"`
	// ReclaimID is shared by all loans that one decision took back.
	// +optional
	ReclaimID string `json:"reclaimID,omitempty"`
	// ReclaimedFor is the UID of the job that the units are taken back for; empty if
	// they are for an online service.
	// +optional
	ReclaimedFor types.UID `json:"reclaimedFor,omitempty"`
	// LostWorkSeconds estimates the GPU-seconds of work that the reclaim cost.
	// +optional
	LostWorkSeconds int64 `json:"lostWorkSeconds,omitempty"`
	// Shedding is what an elastic job is asked to give back, until ReclaimBy, while it
	// goes on with the rest.
	// +optional
	// +listType=atomic
	Shedding []Grant `json:"shedding,omitempty"`
	// Shed is what it has given back that way: the loan holds its grants without it.
	// +optional
	// +listType=atomic
	Shed []Grant `json:"shed,omitempty"`
	// LastHeard is when the node was last heard of whose loss ended the loan, or took the
	// units that it gave up last; absent if that is not known.
	// +optional
	LastHeard *metav1.MicroTime `json:"lastHeard,omitempty"`
	// LedgerSeq is the sequence number of the last ledger entry about this loan.
	// +optional
	LedgerSeq int64 `json:"ledgerSeq,omitempty"`
	// Epoch of the broker that wrote the status last. It never falls.
	// +optional
	Epoch int64 `json:"epoch,omitempty"`
	// Records are the ledger's entries about this loan that nobody but the ledger's volume
	// and this Loan is known to have, oldest first: if the volume is lost, the next ledger
	// takes them from here.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Records []LoanRecord `json:"records,omitempty"`
	// RecordsOmitted is how many there was no room for; they are between the first and the
	// second of records.
	// +optional
	RecordsOmitted int64 `json:"recordsOmitted,omitempty"`
	// DurableSeq is the number up to which all entries are known to be elsewhere too; 0: none.
	// +optional
	DurableSeq int64 `json:"durableSeq,omitempty"`
}

// LoanRecord is an entry of the ledger.
type LoanRecord struct {
	// Seq is its number.
	// +required
	Seq int64 `json:"seq"`
	// Hash of it, as the next entry of the ledger has it.
	// +required
	Hash string `json:"hash"`
	// Kind, such as LEND_GRANTED.
	// +required
	Kind string `json:"kind"`
	// OpID is the operation.
	// +optional
	OpID string `json:"opID,omitempty"`
	// Time at which it was written.
	// +required
	Time metav1.MicroTime `json:"time"`
	// Entry is all of it, as the ledger exports it; absent if it is too long to be carried.
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	Entry *runtime.RawExtension `json:"entry,omitempty"`
}

// Loan is one admitted job's use of units, lent or its tenant's own. Only the
// broker writes it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ln,categories=ebbtide
// +kubebuilder:printcolumn:name="Job",type=string,JSONPath=`.spec.job.name`
// +kubebuilder:printcolumn:name="Borrower",type=string,JSONPath=`.spec.borrower`
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.spec.pods`
// +kubebuilder:printcolumn:name="Units-Per-Pod",type=integer,priority=1,JSONPath=`.spec.unitsPerPod`
// +kubebuilder:printcolumn:name="Nodes",type=string,priority=1,JSONPath=`.spec.grants[*].node`
// +kubebuilder:printcolumn:name="Lender",type=string,JSONPath=`.spec.grants[0].lender`
// +kubebuilder:printcolumn:name="Reclaiming",type=string,JSONPath=`.status.conditions[?(@.type=="Reclaiming")].status`
// +kubebuilder:printcolumn:name="Reclaim-By",type=date,priority=1,JSONPath=`.status.reclaimBy`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Loan struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec LoanSpec `json:"spec"`
	// +optional
	Status LoanStatus `json:"status,omitempty"`
}

// LoanList is a list of Loans.
//
// +kubebuilder:object:root=true
type LoanList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Loan `json:"items"`
}
