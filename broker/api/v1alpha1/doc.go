// Package v1alpha1 holds Ebbtide's API: what a tenant may use (TenantQuota),
// what an online service lends (LendingPolicy), where training jobs are
// submitted (TrainingQueue) and what is lent right now (Loan).
//
// The types promise no more than their field comments say. Everything a single
// object can get wrong is refused by the API server through the validation
// rules beside the fields; what only the cluster can answer (an unknown target,
// queue or flavor) becomes a condition and an event, never a crash.
//
// +kubebuilder:object:generate=true
// +groupName=ebbtide.dev
package v1alpha1
