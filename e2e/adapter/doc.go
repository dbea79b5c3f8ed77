// Package adapter is a custom metrics API over Prometheus, for labs: what a
// HorizontalPodAutoscaler looks at when it scales on anything but CPU and memory.
//
// It is the library that real adapters are made of, sigs.k8s.io/custom-metrics-apiserver,
// behind the API server's aggregation layer, as a process of its own that can be
// killed, frozen and started again like any part of a lab. Its process is the
// caller's own program, run again: a program or test that uses Start must call Main
// first thing.
//
// It promises that a pod without a sample has no value (and not the value zero), as
// with any adapter: what to make of that is the autoscaler's business.
package adapter
