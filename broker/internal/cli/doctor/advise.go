package doctor

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// toLend is what to do about what is not needed as long as nothing is lent.
const toLend = "nothing while it only advises (advise: true in the broker's configuration); to lend, apply the overlay second-scheduler, or upgrade the chart to advise: false with admissionPolicies and a scheduler"

// advises reads whether the broker's configuration has it advise alone, from the ConfigMap that
// its pod runs with. What may not be read is taken for an installation that lends.
func (c *Cluster) advises(ctx context.Context) bool {
	for i := range c.seen.system.items {
		p := &c.seen.system.items[i]
		if p.Labels[program] != brokerName {
			continue
		}
		for _, volume := range p.Spec.Volumes {
			if volume.ConfigMap == nil {
				continue
			}
			config := &corev1.ConfigMap{}
			if c.API.Get(ctx, client.ObjectKey{Namespace: system, Name: volume.ConfigMap.Name}, config) == nil && advising(config) {
				return true
			}
		}
	}
	return false
}

func advising(config *corev1.ConfigMap) bool {
	for _, text := range config.Data {
		var said struct {
			Kind   string `json:"kind"`
			Advise bool   `json:"advise"`
		}
		if yaml.Unmarshal([]byte(text), &said) == nil && said.Kind == "BrokerConfiguration" && said.Advise {
			return true
		}
	}
	return false
}

// needsScheduler: one is there, or has to be. Where one is, it must work.
func (c *Cluster) needsScheduler() bool {
	ready, bad := c.seen.ready(schedulerName)
	return !c.seen.advises || ready+len(bad) > 0
}
