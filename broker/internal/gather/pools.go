package gather

import (
	"maps"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// pools knows how late nodes are lent. Most nodes of a cluster differ only in labels that
// no pool looks at, so each difference that matters is looked at once.
type pools struct {
	policies []v1alpha1.LendingPolicy
	keys     []string // labels that pools look at
	known    map[string]int32
}

func newPools(policies []v1alpha1.LendingPolicy) *pools {
	keys := map[string]bool{}
	for i := range policies {
		for _, pool := range policies[i].Spec.Pools {
			for key := range pool.NodeSelector {
				keys[key] = true
			}
		}
	}
	return &pools{policies: policies, keys: slices.Sorted(maps.Keys(keys)), known: map[string]int32{}}
}

// lendLast is how late a node with the labels is lent: the later, the more some service
// prefers it for its own pods. It is 0 for a node in no policy's pools.
func (p *pools) lendLast(labels map[string]string) int32 {
	var matter strings.Builder
	for _, key := range p.keys {
		if value, has := labels[key]; has {
			matter.WriteString("=" + value) // no value of a label has a = or a comma
		}
		matter.WriteByte(',')
	}
	last, known := p.known[matter.String()]
	if !known {
		last = p.look(labels)
		p.known[matter.String()] = last
	}
	return last
}

func (p *pools) look(labels map[string]string) int32 {
	var last int32
	for i := range p.policies {
		list := p.policies[i].Spec.Pools
		for j := range list {
			if selects(list[j].NodeSelector, labels) {
				last = max(last, int32(len(list)-j))
			}
		}
	}
	return last
}
