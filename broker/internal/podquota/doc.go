// Package podquota says what the API server will make of pods under the ResourceQuotas
// and LimitRanges of their namespace, before they are made: what they use, in
// thousandths, what is left, and whether they would be refused in any case.
//
// It promises to follow what Kubernetes documents for pods ("Resource Quotas", "Limit
// Ranges"): scopes, requests and limits by resource, extended resources by their
// requests, LimitRanges' defaults for containers, and that a quota on CPU or memory
// demands that each container says what it asks for. A quota whose use nobody has
// counted yet leaves nothing.
//
// It refuses to guess what admission webhooks or a RuntimeClass's overhead add.
package podquota
