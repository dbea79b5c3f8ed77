package deploy

import _ "embed"

//go:embed kustomize/scheduler/scheduler-config.yaml
var schedulerConfig []byte

// SchedulerConfig returns the KubeSchedulerConfiguration that deploy/kustomize
// mounts into ebbtide-scheduler: Ebbtide's profile beside the default scheduler.
func SchedulerConfig() []byte { return append([]byte(nil), schedulerConfig...) }
