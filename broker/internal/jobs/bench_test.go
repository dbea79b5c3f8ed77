package jobs

import (
	"fmt"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/lineage"
)

// BenchmarkGatedList is what every decision looks at where pods wait that are known: those
// of Deployments, each by itself, and those of groups.
func BenchmarkGatedList(b *testing.B) {
	var chains lineage.Lineage
	var pods []*corev1.Pod
	var all store
	for i := range 4000 {
		p := pod("p"+strconv.Itoa(i), madeBy("apps/v1", "ReplicaSet", "rs"))
		p.ResourceVersion = strconv.Itoa(i)
		pods, all = append(pods, p), append(all, p)
	}
	chains.PutOwner("research", "rs", lineage.Owner{})
	for name, edit := range map[string]func(i int, p *corev1.Pod){
		"single":   func(int, *corev1.Pod) {},
		"of eight": func(i int, p *corev1.Pod) { inGroup(fmt.Sprintf("g%d", i/8), "8")(p) },
	} {
		for i, p := range pods {
			edit(i, p)
		}
		b.Run(name, func(b *testing.B) {
			g := &Gated{Chains: &chains, Store: all}
			b.ReportAllocs()
			for b.Loop() {
				jobs, err := g.List(b.Context(), nil, func(types.UID, string) bool { return true })
				if err != nil || len(jobs) > 0 {
					b.Fatal(len(jobs), err)
				}
			}
		})
	}
}
