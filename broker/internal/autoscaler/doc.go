// Package autoscaler reads what the autoscalers of a cluster say about a workload:
// HorizontalPodAutoscalers, KEDA's ScaledObjects, Knative's PodAutoscalers and llm-d's
// VariantAutoscalings.
//
// It promises:
//
//   - Of several autoscalers on one target the highest wins, whatever their order.
//   - One that cannot see is told from one that wants nothing: what it wants is then
//     older than it looks.
//   - A kind whose CustomResourceDefinition is not installed is absent, and appears
//     without a restart when it is. A kind that is installed and was not read yet is
//     neither: Found says so.
//   - CPU and memory are no evidence of anything about GPUs. An autoscaler that looks at
//     nothing else is a Note for its owner.
//
// The metrics that an autoscaler looks at are handed on as signal.Specs, which are read
// anew from where the autoscaler reads them. What its status says of them is not used:
// a status does not say how old it is, and that of an autoscaler whose controller died
// looks like that of an idle service.
//
// It refuses to write anything, and to connect to what an autoscaler names: queries go to
// the broker's own Prometheus, whatever serverAddress a trigger names, and lists and topics
// to the backends of its configuration. A query whose trigger adds a tenant, headers,
// parameters or an authentication of its own is not asked: elsewhere it means something
// else.
package autoscaler
